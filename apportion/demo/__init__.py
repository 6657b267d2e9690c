"""The demo: the whole road on tasks of our own."""

"""Data sets for trainers: built from the tables by pure functions, written as one folder with its card and manifest."""

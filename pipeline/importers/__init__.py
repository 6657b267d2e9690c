"""Logs of other systems, read into the tables: one importer per format."""

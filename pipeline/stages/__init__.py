"""Stages: read tables, do one piece of the work, write tables. No Prefect here; every stage can be called by itself."""

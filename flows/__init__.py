"""Prefect flows: they wire stages, retry, schedule and show progress. The tables say what is done, not Prefect."""

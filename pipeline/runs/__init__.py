"""The store: a run's tables, committed by one rename; SQL over them; what a manifest may make happen."""

"""Rankers over the steps of a log: how they are fitted, and on which columns."""

"""Localizers: which step of a failure went wrong first. One file each."""

"""Conversations advanced on an engine, and recorded ones continued from an exact prefix."""

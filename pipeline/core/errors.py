"""Errors that a user can act on."""

from __future__ import annotations


class UserError(Exception):
    """Wrong usage or bad input: one line that names the place, the problem and the cure. Exit code 2."""


class WorkError(Exception):
    """The work itself failed (an engine died, a shard is damaged): one line. Exit code 1."""

"""Planted faults: failures whose wrong step is known."""

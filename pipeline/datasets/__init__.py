"""Data sets for trainers: cleaned, split, with their card."""

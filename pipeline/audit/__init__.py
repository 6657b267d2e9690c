"""Audit: does the masked credit deserve trust? Tables in, figures with intervals and a plain paragraph out."""

"""Apportion: who deserves the reward, who gets the blame, what to train on; in tables."""

"""The failure branch: where a run first went wrong, what would have turned it, and the pairs to train on."""

"""Training from tables: GRPO and DPO on stored token ids, each run in a process of its own.

`job` starts that process and is light; every other module imports torch and is loaded only inside it,
except `rows`, which says what cannot be trained on. Array suffixes: B rows, T completion tokens, K packs,
N tokens of a pack, W tokens of a pack whose logits are needed, M log-probabilities.
"""

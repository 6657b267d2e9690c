"""Engines: sample, score, load weights. One protocol; vLLM by default, transformers as the reference."""

"""Advantages: rewards of messages compared within their group, and the training rows made of them, without a model."""

"""Advantages: rewards of messages compared within their group, without a model."""

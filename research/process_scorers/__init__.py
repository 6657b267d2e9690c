"""Process scores of a single writer's solution: how wrong each step looks, by several families, and a ranker of all."""

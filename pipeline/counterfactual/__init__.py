"""The counterfactual engine: games over coalitions of agents, and the value functions that play them."""

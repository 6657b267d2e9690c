"""Credit assignment: cooperative games over the players of a trajectory, solved in batches, without a model.

A batch of G games with the same n players is `values_GS`, shape (G, 2**n), float64. Coalition s is a bitmask:
bit i set means that player i is kept. Its text form `kept` has one character a player, '1' where it is kept.
Array suffixes: G games, n players, S all 2**n coalitions, M a chosen list of coalitions, P permutations,
R table rows.
"""

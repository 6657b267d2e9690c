"""A trajectory as a cooperative game: players, masking, the prompts of its coalitions, the tables of its credits."""

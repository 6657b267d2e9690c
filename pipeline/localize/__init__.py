"""Where did a failed run go wrong? Signals of every step, rankers over them, and the yardsticks they are held to."""

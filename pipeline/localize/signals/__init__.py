"""What each step of a log tells of its being the decisive error: one signal a file, all of them columns of one table."""

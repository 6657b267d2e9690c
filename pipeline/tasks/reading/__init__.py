"""Files of tasks: their rows, and the task in each."""

"""The one record of a run: task, messages, what was in view, and how it is written as a prompt."""

"""What stands in the logs of other systems: files, conversations, messages, calls, endings."""

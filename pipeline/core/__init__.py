"""What everything else stands on: errors, ids, files, the configuration, progress, processes. It knows no method."""

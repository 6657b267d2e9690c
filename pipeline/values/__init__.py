"""Value functions: what a coalition is worth. One file each."""

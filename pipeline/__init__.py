"""The work itself: pure functions over tables, and stages that read and write at the rim."""

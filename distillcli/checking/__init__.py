"""Two results held against each other, and a saved result read back."""

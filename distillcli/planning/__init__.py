"""What a run will read, and how much memory it needs."""

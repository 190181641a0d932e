"""Teachers -> soft targets, and what is told about that."""

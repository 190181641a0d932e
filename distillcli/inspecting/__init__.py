"""What an inspection found, and what numbers look like."""

"""Whole files or none, and what was written."""

"""A strategy as what is computed for each row, and the passes over the data that do it."""

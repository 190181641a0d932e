"""What is made of row values: the figures of a result, files by row, worst rows, groups."""

"""The inputs of a run, the grid that it is cut by, and the tiles of rows that it is computed on.

Two cuts, neither of which a figure can depend on: a tile is what one thread computes on at once,
small enough for its cache or swept in pieces that are; a slab, some tiles (about 32 MB over all
inputs, more where they are swept), is what is looked after at once, see `slabs.py`. The tiles lie
on a grid from row 0 of the dump whose step depends on the width of the rows alone, so a row is
always computed in the company of the same rows. The user's `batch_size` cuts the report, not the
work.
"""

"""The few stable primitives: class scores, what is derived from them, and their divergence.

Everything is written over the array API standard, with no branch on an array's values. Class scores
are float32 or float64; every number that belongs to a row is float64.
"""

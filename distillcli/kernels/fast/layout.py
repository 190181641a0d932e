"""What is asked of the compiled loops, as bits, and where in a table they leave what they found."""

# Of a pair of rows.
FORWARD, REVERSE, SQUARES, COSINE, ABOVE, OVERLAP = 1, 2, 4, 8, 16, 32
# Of one side: the top class, the sum of exponentials at the temperature and at 1, the entropy.
TOP, TOTAL, ONE, ENTROPY = 1, 2, 4, 8

MASKED = -1e30  # stands for the score of a masked class where differences are taken

# Columns of the table, float64: those of the first side, of the second, and of the pair. Each part
# counts from its own start.
MAX_AT, TOP_AT, TOTAL_AT, ONE_AT, ENTROPY_AT, MASKED_AT = range(6)
SIDE = 6
PAIR = 2 * SIDE
FORWARD_AT, REVERSE_AT, SQUARES_AT, COSINE_AT, ABOVE_AT, OVERLAP_AT = range(6)
COLUMNS = PAIR + 6

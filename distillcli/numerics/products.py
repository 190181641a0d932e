"""Matrix products whose bits are the same however the rows arrive."""

from distillcli.backend import Array, namespace


def multiplied(features: Array, matrix: Array, *, start: int, cell: int) -> Array:
    """Rows times a matrix; a row's product does not depend on the rows that come with it.

    A library adds up in another order for another number of rows. So it is always given whole cells
    of a grid from row 0 of the dump, the ends filled up with zeros.

    Args:
        features: [rows, in].
        matrix: [in, out].
        start: the number of the first row.
        cell: rows of a cell.

    Returns:
        [rows, out].
    """
    xp = namespace(features)
    rows, width = features.shape
    before = start % cell
    cells = -(-(before + rows) // cell)
    if cells * cell != rows:
        filled = xp.zeros((cells * cell, width), dtype=features.dtype)
        filled[before : before + rows, :] = features
        features = filled
    # One by one: a library may take another way for several at once.
    parts = [
        xp.matmul(features[index * cell : (index + 1) * cell, :], matrix) for index in range(cells)
    ]
    product = parts[0] if cells == 1 else xp.concat(parts, axis=0)
    return product[before : before + rows, :]

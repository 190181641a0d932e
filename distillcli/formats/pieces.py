"""Bytes that lie in a row in a file, read to many places in memory by one call of the system.

What is asked of the system is a list of addresses and lengths, which it fills one after the other.
Nothing is copied twice, and what lies between the bytes that are wanted goes to a place where
nobody looks.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

MOST = os.sysconf("SC_IOV_MAX")  # pieces that one call takes
RARE = 64  # pieces: where there are fewer gaps than one in so many, each is worth a call
GAP = 1 << 16  # bytes: reading over a gap this small costs less than another call

# int64 [n, 2], in C order: an address and the bytes that go there. The same as an array of the
# system's `struct iovec` on machines of 64 bits.
Pieces = npt.NDArray[np.int64]
Parts = npt.NDArray[np.int64]  # int64 [parts, n, 2], in C order: pieces that are all of one size
Numbers = npt.NDArray[np.int64]

_rubbish = np.empty(GAP, np.uint8)


def address(array: npt.NDArray[np.generic]) -> int:
    """Where the first value of an array lies in memory."""
    return int(array.__array_interface__["data"][0])


def runs(at: Numbers, parts: Parts) -> Iterator[tuple[int, int, Pieces]]:
    """How to read parts of a file, at the offsets `at`, each to pieces that it fills in order.

    Parts that follow each other in the file are read at once, and over many small gaps.

    Yields: for each call an offset, the bytes from there on, and the pieces that they go to.
    """
    each, line = parts.shape[1], int(parts[0, 0, 1])
    gaps = at[1:] - at[:-1] - each * line
    cuts, over = np.flatnonzero(gaps) + 1, False
    if len(cuts) * RARE > parts.size // 2:
        wide = np.flatnonzero((gaps < 0) | (gaps > GAP)) + 1
        cuts, over = wide, len(wide) < len(cuts)
    for first, stop in pairwise([0, *cuts.tolist(), len(at)]):
        offset, pieces = int(at[first]), parts[first:stop].reshape(-1, 2)
        if over:
            pieces = _over(gaps[first : stop - 1], each, pieces)
        for start in range(0, len(pieces), MOST):
            some = pieces[start : start + MOST]
            size = int(some[:, 1].sum()) if over else line * len(some)
            yield offset, size, some
            offset += size


def _over(gaps: Numbers, each: int, pieces: Pieces) -> Pieces:
    """The pieces, and what lies between so many of them and the next."""
    after = np.flatnonzero(gaps)
    between = np.empty((len(after), 2), np.int64)
    between[:, 0], between[:, 1] = address(_rubbish), gaps[after]
    return np.insert(pieces, each * (after + 1), between, axis=0)


def rest(pieces: Pieces, done: int) -> Pieces:
    """What is left of pieces of which the first `done` bytes have been filled, but not all."""
    ends = np.cumsum(pieces[:, 1])
    first = int(np.searchsorted(ends, done, "right"))
    left = pieces[first:].copy()
    begun = done - (int(ends[first - 1]) if first else 0)
    left[0] += (begun, -begun)
    return left


def _found() -> Callable[[int, int, int, int], int] | None:
    """The system's own `preadv`, which takes pieces as they are."""
    library = ctypes.CDLL(None, use_errno=True)
    call = getattr(library, "preadv64", None) or getattr(library, "preadv", None)
    if call is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64]
    call.restype = ctypes.c_ssize_t
    found: Callable[[int, int, int, int], int] = call
    return found


_preadv = _found()


def read_pieces(fd: int, pieces: Pieces, offset: int) -> int:
    """Fill pieces, MOST at most, with the bytes from `offset` on: how many were read.

    None are at the end of the file.

    Raises:
        OSError: the disk does not deliver.
    """
    if _preadv is None:
        views = [(ctypes.c_char * size).from_address(to) for to, size in pieces.tolist()]
        return os.preadv(fd, views, offset)
    while (got := _preadv(fd, address(pieces), len(pieces), offset)) < 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return got

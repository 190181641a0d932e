"""Bytes that lie in a row in a file, read to many places in memory by one call of the system.

What is asked of the system is a list of addresses and lengths, which it fills one after the other.
Nothing is copied twice, and what lies between the bytes that are wanted goes to a place where
nobody looks.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

MOST = os.sysconf("SC_IOV_MAX")  # pieces that one call takes
RARE = 64  # lines: where there are fewer gaps than one in so many, each is worth a call
GAP = 1 << 16  # bytes: reading over a gap this small costs less than another call

# int64 [n, 2], in C order: an address and the bytes that go there. The same as an array of the
# system's `struct iovec` on machines of 64 bits.
Pieces = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int64]

_rubbish = np.empty(GAP, np.uint8)


def address(array: npt.NDArray[np.generic]) -> int:
    """Where the first value of an array lies in memory."""
    return int(array.__array_interface__["data"][0])


def runs(at: Numbers, to: Numbers, size: int) -> Iterator[tuple[int, Pieces]]:
    """How to read one or more lines of `size` bytes from the offsets `at` to the addresses `to`.

    Lines that follow each other in the file are read at once, and over many small gaps.

    Yields: the offset of a run of lines, and its pieces.
    """
    gaps = at[1:] - at[:-1] - size
    cuts = np.flatnonzero(gaps) + 1
    if len(cuts) * RARE > len(at):
        cuts = np.flatnonzero((gaps < 0) | (gaps > GAP)) + 1
    pieces = np.empty((len(at), 2), np.int64)
    pieces[:, 0], pieces[:, 1] = to, size
    for first, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(at)], strict=True):
        between = gaps[first : stop - 1]
        whole = pieces[first:stop]
        yield int(at[first]), _over(between, whole) if between.any() else whole


def _over(gaps: Numbers, pieces: Pieces) -> Pieces:
    """The pieces, and what lies between them."""
    after = np.flatnonzero(gaps)
    between = np.empty((len(after), 2), np.int64)
    between[:, 0], between[:, 1] = address(_rubbish), gaps[after]
    return np.insert(pieces, after + 1, between, axis=0)


def rest(pieces: Pieces, done: int) -> Pieces:
    """What is left of pieces of which the first `done` bytes have been filled."""
    if done == int(pieces[:MOST, 1].sum()):
        return pieces[MOST:]
    ends = np.cumsum(pieces[:, 1])
    first = int(np.searchsorted(ends, done, "right"))
    left = pieces[first:].copy()
    if len(left):
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
    """Fill pieces with the bytes from `offset` on: how many were read, 0 at the end of the file.

    Raises:
        OSError: the disk does not deliver.
    """
    pieces = pieces[:MOST]
    if _preadv is None:
        views = [(ctypes.c_char * size).from_address(to) for to, size in pieces.tolist()]
        return os.preadv(fd, views, offset)
    while (got := _preadv(fd, address(pieces), len(pieces), offset)) < 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return got

"""Several stored arrays joined along their first axis, read as one."""

import threading
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from math import gcd
from typing import Any

from distillcli.errors import MismatchError
from distillcli.formats.elements import Array
from distillcli.formats.files import InputFile, sample_crc
from distillcli.formats.readers import Reader, check_request

OPEN = 16  # shards held open at once
SHOWN = 3  # shards named in a fingerprint, at each end

OpenShard = Callable[[], Reader]


class Shards(Reader):
    """Shards as one array. At most a few are open at a time, so thousands are no trouble."""

    def __init__(self, openers: Sequence[OpenShard], *, name: str, role: str) -> None:
        """Look at every shard.

        Args:
            openers: functions that open one shard each, in order.
            name: the source as given. role: as in "student logits", for errors.

        Raises:
            MismatchError: a shard whose rows or elements are not like those of the first.
        """
        self.name, self.path, self.dataset = name, name, None
        self.where = f"{role} in {name}" if role else name
        self._openers = tuple(openers)
        self._lock = threading.Lock()
        self._open: dict[int, Reader] = {}
        self._users: dict[int, int] = {}
        self._files: list[InputFile] = []
        self._known: list[Reader] = []
        try:
            for index in range(len(openers)):
                self._look_at(index)
        except BaseException:
            self.close()
            raise
        self._take_shape()

    def _look_at(self, index: int) -> None:
        reader = self._openers[index]()
        self._open[index] = reader
        self._known.append(reader)
        self._files.extend(reader.files())
        first = self._known[0]
        if reader.element != first.element:
            problem = f"elements are {reader.element}, those of {first.name} are {first.element}"
            raise MismatchError(reader.where, problem, "shards must be of one type")
        if reader.shape[1:] != first.shape[1:]:
            problem = f"shape is {list(reader.shape)}, that of {first.name} {list(first.shape)}"
            raise MismatchError(reader.where, problem, "shards may differ in their first axis only")
        if _said(reader) != _said(first):
            problem = f"declares {_said(reader)}, while {first.name} declares {_said(first)}"
            raise MismatchError(reader.where, problem, "shards must be of one kind")
        self._shrink()

    def _take_shape(self) -> None:
        first = self._known[0]
        self.element, self.lead, self.dataset = first.element, first.lead, first.dataset
        self.declared = first.declared
        self.shape = (sum(reader.shape[0] for reader in self._known), *first.shape[1:])
        self._ends = list(accumulate(reader.rows for reader in self._known))

    def read(self, start: int, stop: int, out: Array) -> Array:
        """Read rows [start, stop), over as many shards as they take, into `out`."""
        check_request(self, start, stop, out)
        for index, begin, at, end in self._parts(start, stop):
            with self._lease(index) as reader:
                reader.read(at - begin, end - begin, out[at - start : end - start])
        return out

    def splits(self, step: int, *, loosely: bool = False) -> bool:
        """Whether every shard, wherever it begins, can be cut at these rows."""
        begins = [0, *self._ends[:-1]]
        shards = zip(self._known, begins, strict=True)
        return all(reader.splits(gcd(step, begin), loosely=loosely) for reader, begin in shards)

    def pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The pieces of each shard."""
        return [
            (begin + first, begin + last)
            for index, begin, at, end in self._parts(start, stop)
            for first, last in self._known[index].pieces(at - begin, end - begin)
        ]

    def expect(self, start: int, stop: int) -> None:
        """Have the system fetch rows that will be read soon, where it does not hold them."""
        for index, begin, at, end in self._parts(start, stop):
            with self._lease(index) as reader:
                reader.expect(at - begin, end - begin)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """The shards that hold rows [start, stop): index, its first row, and which rows of all."""
        index, at = bisect_right(self._ends, start), start
        while at < stop:
            begin, end = self._ends[index - 1] if index else 0, min(stop, self._ends[index])
            yield index, begin, at, end
            at, index = end, index + 1

    @contextmanager
    def _lease(self, index: int) -> Iterator[Reader]:
        """An open shard that stays open for as long as it is in use."""
        with self._lock:
            if index not in self._open:
                self._open[index] = self._open_again(index)
            self._users[index] = self._users.get(index, 0) + 1
            reader = self._open[index]
        try:
            yield reader
        finally:
            with self._lock:
                self._users[index] -= 1
                self._shrink()

    def _open_again(self, index: int) -> Reader:
        for file in self._known[index].files():
            file.check_unchanged()
        return self._openers[index]()

    def _shrink(self) -> None:
        idle = [index for index in self._open if not self._users.get(index)]
        for index in idle[: max(0, len(self._open) - OPEN)]:
            self._open.pop(index).close()

    def files(self) -> Sequence[InputFile]:
        """The files of all shards, in order."""
        return self._files

    def fingerprint(self) -> dict[str, Any]:
        """The total size and one CRC-32 over those of all shards; the outermost ones by name."""
        sums = [self._shard_sums(index) for index in range(len(self._known))]
        crc = 0
        for part in sums:
            crc = zlib.crc32(f"{part['size']}:{part['crc32']};".encode(), crc)
        shown = sums if len(sums) <= 2 * SHOWN else sums[:SHOWN] + sums[-SHOWN:]
        return {**self._measures(), "crc32": f"{crc:08x}", "shards": len(sums), "files": shown}

    def _shard_sums(self, index: int) -> dict[str, Any]:
        with self._lease(index) as reader:
            (file,) = reader.files()
            crc = f"{sample_crc(file):08x}"
            return {"path": reader.name, "size": file.size, "crc32": crc}

    def close(self) -> None:
        """Give all files back; a second time does nothing."""
        with self._lock:
            while self._open:
                with suppress(OSError):
                    self._open.popitem()[1].close()


def _said(reader: Reader) -> str:
    """What the file of a shard says of its scores."""
    if reader.declared is None:
        return "nothing"
    known = reader.declared
    top = f", the top {known.top_k}" if known.top_k is not None else ""
    return f"{known.kind} of {known.classes:,} classes at temperature {known.temperature:g}{top}"

"""Finished pieces -> one file that takes its name when it is whole."""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from distillcli.errors import DataError
from distillcli.formats.declared import FAMILY, sealed
from distillcli.formats.files import InputFile, sample_crc
from distillcli.formats.hdf5.writing import Hdf5Writer, Planned
from distillcli.formats.npy_writing import NpyWriter
from distillcli.formats.sidecar import mark_of, sidecar_of, words_beside
from distillcli.targets.partial import ROLE, Partial
from distillcli.targets.pieces import Piece
from distillcli.targets.spec import Spec
from distillcli.writing.outputs import mode_of, sync_folder, told

Advance = Callable[[int, int], None]
Writer = Hdf5Writer | NpyWriter


def assemble(
    partial: Partial,
    spec: Spec,
    plan: Mapping[str, Planned],
    words: Mapping[str, str],
    advance: Advance,
) -> None:
    """Write the output from the pieces, sync it, and give it its name.

    The writing has a thread of its own: an interrupt reaches the main thread alone, so it cannot
    strike while the library is at work.

    Args:
        plan: the datasets.
        words: what the file says of itself, but for the datasets and checksums.
        advance: told of rows and bytes as they are written.

    Raises:
        DataError: the disk refuses.
    """
    stop = threading.Event()
    with told(partial.path, ROLE), ThreadPoolExecutor(1, "assembly") as pool:
        try:
            said = pool.submit(_write, partial, spec, plan, dict(words), advance, stop).result()
        finally:
            stop.set()
        _publish(partial, said, spec)


def _write(
    partial: Partial,
    spec: Spec,
    plan: Mapping[str, Planned],
    words: dict[str, str],
    advance: Advance,
    stop: threading.Event,
) -> dict[str, str]:
    """Write the file under its passing name; what it says of itself."""
    fd = os.open(partial.assembled, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        writer = _writer(fd, spec, plan)
        said: dict[str, str] | None = None
        try:
            sums = _copy(partial, plan, writer, fd, advance, stop)
            words["datasets"] = json.dumps(
                {
                    name: {"dtype": str(one.dtype), "shape": list(one.shape), "sha256": sums[name]}
                    for name, one in plan.items()
                }
            )
            if isinstance(writer, NpyWriter):
                words |= {"blocks": writer.blocks().written(), "file": _mark(partial.assembled)}
            said = sealed(words)
        finally:
            writer.close(said)
        os.fchmod(fd, mode_of(partial.path))
        os.fsync(fd)
    finally:
        os.close(fd)
    return said


def _writer(fd: int, spec: Spec, plan: Mapping[str, Planned]) -> Writer:
    if spec.is_hdf5:
        return Hdf5Writer(fd, plan, spec.compression)
    (only,) = plan.values()
    return NpyWriter(fd, only.dtype, only.shape)


def _copy(
    partial: Partial,
    plan: Mapping[str, Planned],
    writer: Writer,
    fd: int,
    advance: Advance,
    stop: threading.Event,
) -> dict[str, str]:
    """Hand every row to the writer; the SHA-256 of each dataset.

    The disk begins while the rest is copied: to sync all of it at the end takes as long again.
    """
    sums = {name: hashlib.sha256() for name in plan}
    with ThreadPoolExecutor(3, "reading, hashing, syncing") as pool:
        synced = pool.submit(os.fsync, fd)
        for piece in _one_ahead(partial.pieces(), pool):
            if stop.is_set():
                break
            size = 0
            for name in plan:
                for rows in piece.arrays[name]:
                    hashed = pool.submit(sums[name].update, rows.reshape(-1).view(np.uint8).data)
                    writer.append(name, rows)
                    hashed.result()
                    size += rows.nbytes
            advance(piece.stop - piece.start, size)
            if synced.done():
                synced.result()  # what the disk refuses once it may not tell again
                synced = pool.submit(os.fsync, fd)
        synced.result()
    return {name: one.hexdigest() for name, one in sums.items()}


def _one_ahead(pieces: Iterator[Piece], pool: Executor) -> Iterator[Piece]:
    """The pieces, of which the next is read while one is in use."""
    coming = pool.submit(next, pieces, None)
    while (piece := coming.result()) is not None:
        coming = pool.submit(next, pieces, None)
        yield piece


def _mark(path: Path) -> str:
    file = InputFile(str(path), path.name, "")
    try:
        return mark_of(file.size, sample_crc(file))
    finally:
        file.close()


def _publish(partial: Partial, said: Mapping[str, str], spec: Spec) -> None:
    """Give the file its name; beside an NPY file the words go first.

    They describe the old file too until it is replaced, so that what is read with them in between
    is the one or the other, and never taken for what it is not.
    """
    path, beside = partial.path, Path(sidecar_of(str(partial.path)))
    if not spec.is_hdf5:
        partial.place(beside, _beside(dict(said), *_old_words(path, said)))
    os.replace(partial.assembled, path)
    sync_folder(path.parent)
    if not spec.is_hdf5:
        partial.place(beside, _beside(dict(said)))


def _old_words(path: Path, said: Mapping[str, str]) -> list[dict[str, str]]:
    """The words that describe the file that is about to be replaced."""
    with contextlib.suppress(DataError):
        file = InputFile(str(path), path.name, "")
        try:
            words = words_beside(file)
        finally:
            file.close()
        if words and words["file"] != said["file"]:
            return [words]
    return []


def _beside(*entries: dict[str, str]) -> bytes:
    return json.dumps({FAMILY: entries}, indent=1).encode("ascii") + b"\n"

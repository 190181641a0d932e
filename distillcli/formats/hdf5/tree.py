"""What is in an HDF5 file: groups and datasets that hard links lead to."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import h5py

from distillcli.errors import FormatError, MissingError

LINKS = 10_000
DEPTH = 64


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """Everything that hard links lead to, each once, with its path."""
    seen, queue, links = set(), deque([("", root, 0)]), 0
    while queue:
        path, group, depth = queue.popleft()
        for name, node in _children(group, LINKS - links):
            links += 1
            address = h5py.h5o.get_info(node).addr
            if address in seen:
                continue
            seen.add(address)
            below = f"{path}/{name}" if path else name
            yield below, node
            if isinstance(node, h5py.h5g.GroupID) and depth < DEPTH:
                queue.append((below, node, depth + 1))


def find(root: Any, name: str, file_where: str, where: str) -> Any:
    """The object at a path, over hard links alone.

    Raises:
        MissingError: there is none. FormatError: a link on the way leads elsewhere.
    """
    node = root
    for step in (part for part in name.split("/") if part not in ("", ".")):
        if not isinstance(node, h5py.h5g.GroupID) or not _exists(node, step):
            raise MissingError(file_where, f"holds no dataset {name!r}")
        node = _follow(node, step, where)
    return node


def _exists(group: Any, name: str) -> bool:
    return bool(group.links.exists(_encode(name)))


def _follow(group: Any, name: str, where: str) -> Any:
    """The object behind a hard link."""
    kind = group.links.get_info(_encode(name)).type
    if kind != h5py.h5l.TYPE_HARD:
        external = kind == h5py.h5l.TYPE_EXTERNAL
        which, what = ("an external", "file and dataset") if external else ("a soft", "dataset")
        problem = f"{name!r} is {which} link; only what the file itself holds is read"
        raise FormatError(where, problem, f"name the {what} that it points to")
    return h5py.h5o.open(group, _encode(name))


def _children(group: Any, most: int) -> Iterator[tuple[str, Any]]:
    for name in link_names(group, most):
        if group.links.get_info(_encode(name)).type == h5py.h5l.TYPE_HARD:
            yield name, h5py.h5o.open(group, _encode(name))


def link_names(group: Any, most: int) -> list[str]:
    """The names of the links in a group, in the order of the file, at most so many."""
    names: list[bytes] = []

    def take(name: bytes) -> bool | None:
        names.append(name)
        return True if len(names) >= most else None

    if most > 0:
        group.links.iterate(take)
    return [name.decode("utf-8", "surrogateescape") for name in names]


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")

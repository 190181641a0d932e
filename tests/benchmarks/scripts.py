"""What people run today: the same figures in PyTorch, written as one would write them at a desk."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as functional

TEMPERATURE, ALPHA = 2.0, 0.7
BLOCK = 32  # rows
BINS = 15

Tensor = torch.Tensor
Rows = dict[str, Tensor]  # one number per row and figure


def loss_rows(teacher: Tensor, student: Tensor, labels: Tensor) -> Rows:
    """KL at the temperature, and cross-entropy."""
    teacher, student = teacher.float(), student.float()
    p = functional.log_softmax(teacher / TEMPERATURE, -1)
    q = functional.log_softmax(student / TEMPERATURE, -1)
    kl = functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    return {"kl": kl, "nll": functional.cross_entropy(student, labels, reduction="none")}


def all_rows(teacher: Tensor, student: Tensor, labels: Tensor) -> Rows:
    """What all metrics of `score` are made of."""
    teacher, student = teacher.float(), student.float()
    found = loss_rows(teacher, student, labels)
    logs = functional.log_softmax(teacher, -1), functional.log_softmax(student, -1)
    shares = logs[0].exp(), logs[1].exp()
    tops = teacher.argmax(-1), student.argmax(-1)
    chosen = student.gather(1, tops[0][:, None])
    found["top1"] = (tops[0] == tops[1]).float()
    found["top5"] = ((student > chosen).sum(-1) < 5).float()
    found["accepted"] = torch.minimum(*shares).sum(-1)
    for name, log, share, top in zip("ts", logs, shares, tops, strict=True):
        found[f"{name} nll"] = -log.gather(1, labels[:, None])[:, 0]
        found[f"{name} entropy"] = -(share * log).sum(-1)
        found[f"{name} sure"] = share.amax(-1)
        found[f"{name} right"] = (top == labels).float()
    return found


def figures(rows: Rows) -> dict[str, float]:
    """The loss and the mean of every figure; where all are there, quantiles and calibration too."""
    wide = {name: values.double() for name, values in rows.items()}
    found = {name: float(values.mean()) for name, values in wide.items()}
    found["loss"] = ALPHA * TEMPERATURE**2 * found["kl"] + (1 - ALPHA) * found["nll"]
    if "top1" in rows:
        places = torch.tensor([0.5, 0.9, 0.95, 0.99, 0.999], dtype=torch.float64)
        kept = wide["kl"] if len(wide["kl"]) <= 2**24 else wide["kl"][: 2**24]  # torch's limit
        found["median"] = float(torch.quantile(kept, places)[0])
        for name in "ts":
            found[f"{name} ece"] = _calibration(wide[f"{name} sure"], wide[f"{name} right"])
    return found


def _calibration(sure: Tensor, right: Tensor) -> float:
    bins = (sure * BINS).ceil().long().clamp(1, BINS) - 1
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, sure - right)
    return float(gaps.abs().sum() / len(sure))


def whole(rows: Callable[..., Rows]) -> Callable[..., dict[str, float]]:
    """All rows at once: what a script does that has the memory."""
    return lambda *arrays: figures(rows(*arrays))


def in_blocks(rows: Callable[..., Rows], size: int) -> Callable[..., dict[str, float]]:
    """Some rows at a time: what a careful script does."""

    def run(*arrays: Tensor) -> dict[str, float]:
        parts = [rows(*part) for part in _parts(arrays, size)]
        return figures({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    return run


def _parts(arrays: tuple[Tensor, ...], size: int) -> Iterator[tuple[Tensor, ...]]:
    yield from zip(*(array.split(size) for array in arrays), strict=True)


def compiled(rows: Callable[..., Rows]) -> Callable[..., dict[str, float]]:
    """The same through torch.compile."""
    made: Any = torch.compile(rows, dynamic=False)
    return whole(made)

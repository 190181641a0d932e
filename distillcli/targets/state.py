"""The state of running figures as arrays, so that a piece can carry it to a later run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.sums.calibration import Calibration
from distillcli.sums.dyadic import Dyadic
from distillcli.sums.moments import Moments, Sums
from distillcli.sums.rows import RowValues, joined
from distillcli.sums.totals import Block, Totals

Array = npt.NDArray[Any]


def state_of(totals: Totals) -> dict[str, Array]:
    """All that `resume` needs; to the last bit."""
    blocks, waiting = totals.blocks.state()
    nodes = blocks.nodes
    found: dict[str, Array] = {
        "places": np.array([[level, index] for level, index, _ in nodes], np.int64),
        "counts": np.array([_counts(b.moments.total) for *_, b in nodes], np.int64),
        "sums": np.array([b.moments.total.sums for *_, b in nodes], np.float64),
        "squares": np.array([b.moments.squares for *_, b in nodes], np.float64),
        "nonfinite": np.array([b.moments.total.nonfinite for *_, b in nodes], np.int64),
        "bins": np.array([_bins(b) for *_, b in nodes], np.float64),
    }
    if waiting:
        rows = joined(waiting)
        found |= {
            "start": np.array([rows.start]),
            "values": np.array(rows.values),
            "keep": rows.keep,
        }
        found |= {"masked": rows.masked} if rows.masked is not None else {}
    return found


def _counts(sums: Sums) -> list[int]:
    return [int(sums.rows), int(sums.skipped), int(sums.masked)]


def _bins(block: Block) -> list[Array]:
    """Rows and correct rows are far below 2^53, so float64 holds them."""
    return [
        part
        for one in block.calibrations.values()
        for part in (one.rows, one.correct, one.confidence)
    ]


def resume(totals: Totals, state: Mapping[str, Array], sides: Sequence[str]) -> None:
    """Put fresh totals in the state; `sides` are those whose calibration they keep."""
    nodes = []
    for at, (level, index) in enumerate(state["places"].tolist()):
        rows, skipped, masked = state["counts"][at]
        sums = Sums(rows, skipped, masked, state["sums"][at], state["nonfinite"][at])
        columns = tuple(totals.names.index(name) for name in totals.deviating)
        moments = Moments(sums, columns, state["squares"][at])
        bins = state["bins"][at]
        calibrations = {
            side: Calibration(
                bins[3 * i].astype(np.int64), bins[3 * i + 1].astype(np.int64), bins[3 * i + 2]
            )
            for i, side in enumerate(sides)
        }
        nodes.append((level, index, Block(moments, calibrations)))
    waiting = []
    if "start" in state:
        start = int(state["start"][0])
        masked = state.get("masked")
        waiting = [RowValues(start, totals.names, list(state["values"]), state["keep"], masked)]
    totals.blocks.resume(Dyadic(tuple(nodes)), waiting)

"""The loss over the batches as a line of little bars, for somebody at a terminal."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.console import RenderableType

from distillcli.report import text
from distillcli.report.lines import LABEL, labelled
from distillcli.report.page import Page
from distillcli.result import BatchResult, Number

BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_NO_NUMBER = "!"
_FEWEST = 8  # with less room than this for bars, they have the line to themselves
_SCALE = 22  # what the numbers beside the bars take, most often


def trend(batches: Sequence[BatchResult], page: Page) -> Iterator[RenderableType]:
    """A bar per batch, from the lowest loss to the highest; neighbours share one if need be.

    Nothing off a terminal, without the characters for it, or for a single batch.
    """
    if not page.terminal or not page.can_write(BARS) or len(batches) < 2:
        return
    room = (page.width or len(batches)) - LABEL
    beside = means(batches, max(_FEWEST, room - _SCALE))
    scale = _scale(beside)
    fits = len(beside) + len(scale) <= room
    line = bars(beside) + scale if fits else bars(means(batches, room))
    yield from labelled([("trend", text.tied(line))])


def means(batches: Sequence[BatchResult], most: int) -> list[Number]:
    """The loss of each batch, or the mean over neighbours where there are more than `most`."""
    count = min(len(batches), most)
    cuts = [index * len(batches) // count for index in range(count + 1)]
    return [_mean(batches[start:stop]) for start, stop in pairwise(cuts)]


def bars(losses: Sequence[Number]) -> str:
    """A character for each loss, `!` where it is not finite."""
    known = _known(losses)
    low, high = min(known, default=0.0), max(known, default=0.0)
    return "".join(_bar(loss, low, high) for loss in losses)


def _scale(losses: Sequence[Number]) -> str:
    """What the lowest and the highest bar stand for."""
    known = _known(losses)
    return f"  {' to '.join(text.losses([min(known), max(known)]))}" if known else ""


def _known(losses: Sequence[Number]) -> list[float]:
    return [loss for loss in losses if loss is not None]


def _mean(batches: Sequence[BatchResult]) -> Number:
    total, rows = 0.0, 0
    for batch in batches:
        if batch.loss is None and batch.counted:
            return None
        total += (batch.loss or 0.0) * batch.counted
        rows += batch.counted
    return total / rows if rows else None


def _bar(value: Number, low: float, high: float) -> str:
    if value is None:
        return _NO_NUMBER
    if high <= low:
        return BARS[3]
    return BARS[min(len(BARS) - 1, int((value - low) / (high - low) * len(BARS)))]

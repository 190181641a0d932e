"""The loss over the batches as a line of little bars, for somebody at a terminal."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from distillcli.report import text
from distillcli.report.lines import LABEL, labelled
from distillcli.report.page import Page
from distillcli.result import BatchResult, Number

BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_NO_NUMBER = "!"
_FEWEST = 8  # with less room than this for bars, they have the line to themselves


def trend(batches: Sequence[BatchResult], page: Page) -> Iterator[RenderableType]:
    """A bar per batch, from the lowest loss to the highest; neighbours share one if need be.

    Nothing off a terminal, without the characters for it, or for a single batch.
    """
    known = [batch.loss for batch in batches if batch.loss is not None]
    if not page.terminal or not page.can_write(BARS) or len(batches) < 2 or not known:
        return
    scale = " to ".join(text.losses([min(known), max(known)]))
    room = (page.width or len(batches)) - LABEL
    if room - len(scale) - 2 >= _FEWEST:
        line = f"{bars(batches, room - len(scale) - 2)}  {scale}"
    else:
        line = bars(batches, room)
    yield from labelled([("trend", text.tied(line))])


def bars(batches: Sequence[BatchResult], room: int) -> str:
    """At most `room` characters: the means over neighbours, `!` where one is not finite."""
    count = min(len(batches), room)
    cuts = [index * len(batches) // count for index in range(count + 1)]
    means = [_mean(batches[cuts[i] : cuts[i + 1]]) for i in range(count)]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return "".join(_bar(mean, low, high) for mean in means)


def _mean(batches: Sequence[BatchResult]) -> Number:
    total = 0.0
    for batch in batches:
        if batch.loss is None:
            return None
        total += batch.loss * (batch.stop - batch.start)
    return total / (batches[-1].stop - batches[0].start)


def _bar(value: Number, low: float, high: float) -> str:
    if value is None:
        return _NO_NUMBER
    if high <= low:
        return BARS[3]
    return BARS[min(len(BARS) - 1, int((value - low) / (high - low) * len(BARS)))]

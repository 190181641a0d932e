"""What is measured of an ensemble while it is written, and what becomes of the sums."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

from distillcli import metrics
from distillcli.backend import Array
from distillcli.batches.tiles import Tile
from distillcli.config import Config
from distillcli.ensembles.ensemble_result import Figures, Pair, Side
from distillcli.fold import BadRows, Columns, Measure
from distillcli.kernels import Wanted, fill
from distillcli.kernels.wanted import DIRECTIONS
from distillcli.numerics.scores import Logits
from distillcli.result import Number, finite
from distillcli.strategy.badrows import or_without_classes
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.measures import Scoring, mean_weight, scoring, teacher_column
from distillcli.strategy.weighting import Weighting, blended, equal
from distillcli.sums.totals import Finished

SIDE = ("accuracy", "nll", "entropy", "confidence")


@dataclass(frozen=True)
class Blending:
    """All that is measured while a blend is written.

    Args:
        sides: the class scores that are looked at one by one, by name.
        student: what the student is held to, if there is one.
    """

    config: Config
    inputs: Inputs
    weighting: Weighting
    sides: dict[str, Callable[[Tile], Logits]]
    student: Scoring | None
    measure: Measure

    @property
    def labels(self) -> bool:
        """Whether there are labels."""
        return "labels" in self.inputs

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The sides whose calibration can be told."""
        return tuple(self.sides) if self.labels else ()

    @property
    def deviating(self) -> tuple[str, ...]:
        """The columns whose standard error is told."""
        return ("kl",) if self.student is not None else ()

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of each term of the student's loss."""
        terms = self.student.terms if self.student is not None else ()
        return {term.name: term.weight for term in terms}

    def figures(self, done: Finished, first: int, stop: int) -> Figures:
        """The figures of the rows `first` to `stop`."""
        teachers = tuple(self._side(done, side) for side in _teachers(self.inputs))
        known = [(side.nll, index) for index, side in enumerate(teachers) if side.nll is not None]
        terms = self.student.terms if self.student is not None else ()
        means = {term.name: done.mean(term.column) for term in terms}
        loss = sum(term.weight * means[term.name] for term in terms if term.weight)
        return Figures(
            first=first,
            stop=stop,
            rows=done.rows,
            blend=self._side(done, "blend"),
            uniform=self._side(done, "uniform") if "uniform" in self.sides else None,
            teachers=teachers,
            best=min(known)[1] if known else None,
            loss=finite(loss) if terms else None,
            terms={name: finite(mean) for name, mean in means.items()},
            metrics=self._metrics(done),
        )

    def _side(self, done: Finished, side: str) -> Side:
        def mean(name: str) -> Number:
            column = f"{side}_{name}"
            return finite(done.mean(column)) if column in done.names else None

        ece = finite(done.block.calibrations[side].error()) if self.labels else None
        return Side(mean("accuracy"), mean("nll"), mean("entropy"), ece)

    def _metrics(self, done: Finished) -> dict[str, Number]:
        """The blend's figures, and the student's, under the names that `score` gives them."""
        found: dict[str, Number] = {}
        if self.student is not None:
            found["kl_mean"] = finite(done.mean("kl"))
            found["kl_stderr"] = finite(done.standard_error("kl"))
            found["top1_agreement"] = finite(done.mean("top1_agreement"))
        for role, side in (("student", "student"), ("teacher", "blend")):
            if side in self.sides:
                values = vars(self._side(done, side))
                found |= {f"{role}_{n}": v for n, v in values.items() if self.labels or v}
        return found

    def pairs(self, done: Finished) -> tuple[Pair, ...]:
        """The teachers two by two."""
        return tuple(
            Pair(
                i,
                j,
                finite(done.mean(f"agreement {i} {j}")),
                finite(done.mean(f"kl {i} {j}")),
                finite(done.mean(f"kl {j} {i}")),
            )
            for i, j in combinations(range(len(self.inputs.teachers)), 2)
        )

    def weights(self, done: Finished) -> tuple[float, ...]:
        """What each teacher weighs, on average where that varies."""
        count = len(self.inputs.teachers)
        return tuple(mean_weight(self.weighting, index, done) for index in range(count))

    def nonfinite(self, done: Finished) -> dict[str, int]:
        """In how many rows a column is not finite."""
        counts = {name: done.nonfinite(name) for name in done.names}
        return {name: count for name, count in counts.items() if count}


def _teachers(inputs: Inputs) -> list[str]:
    return [f"teacher_{index}" for index in range(len(inputs.teachers))]


def blending(
    config: Config, inputs: Inputs, weighting: Weighting, bad: Callable[[Tile], BadRows]
) -> Blending:
    """What is measured of the teachers, of their blend, and of a student where there is one."""
    assert config.ensemble is not None
    roles = inputs.teachers
    target = partial(blended, config.ensemble, weighting, roles)
    names = zip(_teachers(inputs), roles, strict=True)
    sides: dict[str, Callable[[Tile], Logits]] = {
        name: partial(_scores, role) for name, role in names
    }
    sides["blend"] = partial(_at_one, target)
    if weighting.rule != "uniform" and "labels" in inputs:
        even = partial(blended, config.ensemble, equal(len(roles)), roles)
        sides["uniform"] = partial(_at_one, even)
    student = None
    if "student" in inputs:
        sides["student"] = partial(_scores, "student")
        wanted = replace(config, metrics=("kl_mean", "top1_agreement"))
        student = scoring(wanted, inputs, bad, weighting=weighting)
    at = config.ensemble.temperature
    bad = or_without_classes(bad, lambda tile: target(tile, at), roles[0])
    names_of = tuple(_names(inputs, weighting, sides, student))

    def columns(tile: Tile) -> Columns:
        found = dict(student.measure.columns(tile)) if student is not None else {}
        found |= _side_columns(sides, tile)
        found |= _pair_columns(tile, [tile.logits(role) for role in roles])
        if weighting.weights is None:
            shares = weighting.of(tile, roles)
            found |= {teacher_column(i, "weight"): share for i, share in enumerate(shares)}
        return found

    def prepare(tile: Tile) -> None:
        scores = [scores_of(tile) for scores_of in sides.values()]
        _fill(tile, Wanted(ones=scores, entropies=scores, tops=scores))
        if student is not None:
            student.measure.prepare(tile)

    measure = Measure(names_of, columns, bad, prepare)
    return Blending(config, inputs, weighting, sides, student, measure)


def _fill(tile: Tile, wanted: Wanted) -> None:
    fill(wanted, tile.backend.kernel, tile.backend.gpu)


def _scores(role: str, tile: Tile) -> Logits:
    return tile.logits(role)


def _at_one(target: Callable[[Tile, float], Logits], tile: Tile) -> Logits:
    return target(tile, 1.0)


def _names(
    inputs: Inputs, weighting: Weighting, sides: Mapping[str, object], student: Scoring | None
) -> Iterator[str]:
    """The columns, in order."""
    if student is not None:
        yield from (term.column for term in student.terms)
        yield from ("kl", "top1_agreement")
    for side in sides:
        yield from (f"{side}_{name}" for name in (SIDE if "labels" in inputs else SIDE[2:]))
    count = len(inputs.teachers)
    for i, j in combinations(range(count), 2):
        yield from (f"agreement {i} {j}", f"kl {i} {j}", f"kl {j} {i}")
    if weighting.weights is None:
        yield from (teacher_column(index, "weight") for index in range(count))


def _side_columns(sides: Mapping[str, Callable[[Tile], Logits]], tile: Tile) -> dict[str, Array]:
    found = {}
    for side, scores_of in sides.items():
        scores = scores_of(tile)
        found[f"{side}_entropy"] = metrics.entropy(scores)
        found[f"{side}_confidence"] = metrics.confidence(scores)
        if "labels" in tile:
            found[f"{side}_accuracy"] = metrics.accuracy(scores, tile.labels())
            found[f"{side}_nll"] = metrics.nll(scores, tile.labels())
    return found


def _pair_columns(tile: Tile, teachers: Sequence[Logits]) -> dict[str, Array]:
    found = {}
    for (i, first), (j, second) in combinations(enumerate(teachers), 2):
        _fill(tile, Wanted(pair=(first, second), divergences={1.0: DIRECTIONS}))
        found[f"agreement {i} {j}"] = metrics.top1_agreement(first, second)
        found[f"kl {i} {j}"] = metrics.kl(first, second, 1.0)
        found[f"kl {j} {i}"] = metrics.kl(second, first, 1.0)
    return found

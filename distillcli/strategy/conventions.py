"""What the numbers of a run mean, in one line: the same thing is said of all terms at once."""

from collections import Counter
from collections.abc import Iterator, Sequence

from distillcli.metrics import METRICS
from distillcli.strategy.measures import Scoring
from distillcli.strategy.terms import Term


def conventions(scoring: Scoring) -> str:
    """The formulas, what their letters stand for, and how rows, batches and layers are summed."""
    shared = _shared_temperature(scoring.terms)
    return "; ".join(
        [
            *_formulas(scoring.terms, shared),
            *_letters(scoring, shared),
            *_sums(scoring.terms),
            *_metrics(scoring, shared),
            *([scoring.over] if scoring.over else []),
            "natural logarithm, sums over classes, means over rows",
        ]
    )


def _shared_temperature(terms: Sequence[Term]) -> float | None:
    """That of most terms which have one, the first of them among equals."""
    found = Counter(term.formula.temperature for term in terms)
    del found[None]
    return max(found, key=lambda one: found[one], default=None)


def _formulas(terms: Sequence[Term], shared: float | None) -> Iterator[str]:
    """`name (what is its own), name = formula`."""
    names: dict[str, list[str]] = {}
    for term in terms:
        formula = term.formula
        own = list(formula.values)
        if formula.temperature not in (None, shared):
            own.insert(0, f"T = {formula.temperature:g}")
        called = f"{term.name} ({', '.join(own)})" if own else term.name
        names.setdefault(formula.text, []).append(called)
    for text, called_so in names.items():
        yield f"{', '.join(called_so)} = {text}"


def _letters(scoring: Scoring, shared: float | None) -> Iterator[str]:
    softened = any(term.formula.temperature is not None for term in scoring.terms)
    if softened or "kl_mean" in scoring.metrics:
        at = f", T = {shared:g}" if shared is not None else ""
        several = {term.formula.temperature for term in scoring.terms} - {None, shared}
        but = " unless given" if several else ""
        yield f"P = softmax(teacher / T), Q = softmax(student / T){at}{but}"


def _sums(terms: Sequence[Term]) -> Iterator[str]:
    layers = [term.name for term in terms if term.formula.of_layers]
    if layers:
        yield f"{', '.join(layers)} summed over pairs of layers by their weights"
    by_position: dict[str, list[str]] = {}
    for term in terms:
        if term.formula.positions:
            by_position.setdefault(term.formula.positions, []).append(term.name)
    for told, names in by_position.items():
        yield f"{', '.join(names)} {told}"
    related = [(term.name, term.formula.batch) for term in terms if term.formula.batch is not None]
    if related:
        called = ", ".join(name for name, _ in related)
        yield f"{called} in batches of {related[0][1]:,} rows"


def _metrics(scoring: Scoring, shared: float | None) -> Iterator[str]:
    if "kl_mean" in scoring.metrics:
        at = "" if scoring.temperature == shared else f" at T = {scoring.temperature:g}"
        yield f"KL metrics = KL(P || Q){at}, without T^2"
    of_rows = [name for name in scoring.metrics if METRICS[name].columns]
    others = [name for name in of_rows if not name.startswith("kl_")]
    if others and scoring.temperature != 1:
        blend = ", of the blend formed at T = 1" if scoring.blended else ""
        yield f"other metrics at T = 1{blend}"

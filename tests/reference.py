"""Slow references: plain Python floats and loops, straight from the formulas, one row at a time.

This module never imports the package; what it says is held against the package by the tests.
"""

import math

Row = list[float]


def log_softmax(row: Row, temperature: float = 1.0) -> Row:
    """log softmax(row / temperature); -inf stays -inf."""
    top = max(row)
    shifted = [(x - top) / temperature for x in row]
    log_total = math.log(math.fsum(math.exp(x) for x in shifted))
    return [x - log_total for x in shifted]


def divergence(log_p: Row, log_q: Row) -> float:
    """KL(p || q) as the sum of p log(p / q) - p + q, in which every term is >= 0."""
    terms = []
    for lp, lq in zip(log_p, log_q, strict=True):
        if lp == -math.inf:
            terms.append(math.exp(lq))
        elif lq == -math.inf:
            return math.inf
        elif lp - lq > -1:
            terms.append(math.exp(lp) * (math.expm1(lq - lp) + (lp - lq)))
        else:
            terms.append(math.exp(lp) * (lp - lq) + math.exp(lq) - math.exp(lp))
    return math.fsum(terms)


def factor(temperature: float, temperature_squared: bool) -> float:
    """T^2, or 1 where it is left out."""
    return temperature**2 if temperature_squared else 1.0


def cross_entropy(*, student: Row, labels: int) -> float:
    """-log softmax(student)[label]."""
    return -log_softmax(student)[labels]


def kl(
    *, teacher: Row, student: Row, temperature: float = 1.0, temperature_squared: bool = True
) -> float:
    """T^2 KL(P || Q)."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    return factor(temperature, temperature_squared) * divergence(p, q)


def reverse_kl(
    *, teacher: Row, student: Row, temperature: float = 1.0, temperature_squared: bool = True
) -> float:
    """T^2 KL(Q || P)."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    return factor(temperature, temperature_squared) * divergence(q, p)


def jsd(
    *,
    teacher: Row,
    student: Row,
    beta: float = 0.5,
    temperature: float = 1.0,
    temperature_squared: bool = True,
) -> float:
    """T^2 [b KL(P || M) + (1 - b) KL(Q || M)]."""
    if beta in (0.0, 1.0):
        return 0.0
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    m = [log_of_mean([a, b], [beta, 1 - beta]) for a, b in zip(p, q, strict=True)]
    value = beta * divergence(p, m) + (1 - beta) * divergence(q, m)
    return factor(temperature, temperature_squared) * value


def log_of_mean(logs: Row, weights: Row) -> float:
    """log of the weighted mean of exp(log)."""
    top = max(logs)
    if top == -math.inf:
        return top
    pairs = zip(logs, weights, strict=True)
    return top + math.log(math.fsum(weight * math.exp(log - top) for log, weight in pairs))


def mse(*, teacher: Row, student: Row) -> float:
    """Mean of (teacher - student)^2."""
    return math.fsum((t - s) ** 2 for t, s in zip(teacher, student, strict=True)) / len(teacher)


def unit(row: Row) -> Row:
    """The row at length 1; a zero row stays zero."""
    length = math.hypot(*row)
    return [x / length for x in row] if length else row


def cosine(*, teacher: Row, student: Row) -> float:
    """1 - cos(teacher, student); the cosine of a zero row is 0."""
    pairs = zip(unit(teacher), unit(student), strict=True)
    return 1.0 - math.fsum(t * s for t, s in pairs)


def normalized_mse(*, teacher: Row, student: Row) -> float:
    """Mean of the squared difference of both rows at length 1."""
    return mse(teacher=unit(teacher), student=unit(student))


def combined_kl_mse(
    *,
    teacher: Row,
    student: Row,
    kl_weight: float = 0.5,
    mse_weight: float = 0.5,
    temperature: float = 1.0,
    temperature_squared: bool = True,
) -> float:
    """kl_weight * kl + mse_weight * mse."""
    divided = kl(
        teacher=teacher,
        student=student,
        temperature=temperature,
        temperature_squared=temperature_squared,
    )
    return kl_weight * divided + mse_weight * mse(teacher=teacher, student=student)


def top(row: Row) -> int:
    """The index of the highest entry, the lowest among equals."""
    return row.index(max(row))


def top5_agreement(teacher: Row, student: Row) -> float:
    """1 where fewer than five student entries are strictly above that of the teacher's top."""
    return float(sum(x > student[top(teacher)] for x in student) < 5)


def entropy(row: Row) -> float:
    """-sum p log p at temperature 1."""
    return -math.fsum(math.exp(x) * x for x in log_softmax(row) if x > -math.inf)


def confidence(row: Row) -> float:
    """The top probability at temperature 1."""
    return math.exp(max(log_softmax(row)))


def blend(teachers: list[Row], weights: Row, combine: str, temperature: float) -> Row:
    """One row of the blended teacher."""
    total = math.fsum(weights)
    used = [(t, w / total) for t, w in zip(teachers, weights, strict=True) if w > 0]
    shares = [w for _, w in used]
    if combine == "logits":
        return [_dot(column, shares) for column in zip(*(t for t, _ in used), strict=True)]
    columns = list(zip(*(log_softmax(t, temperature) for t, _ in used), strict=True))
    if combine == "probabilities":
        return [temperature * log_of_mean(list(column), shares) for column in columns]
    geometric = [_dot(column, shares) for column in columns]
    return [temperature * x for x in log_softmax(geometric)]


def _dot(xs: tuple[float, ...], weights: Row) -> float:
    return (
        -math.inf if -math.inf in xs else math.fsum(x * w for x, w in zip(xs, weights, strict=True))
    )

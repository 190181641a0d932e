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


def mean(values: Row) -> float:
    """The mean of some values."""
    return math.fsum(values) / len(values)


def standard_error(values: Row) -> float:
    """s / sqrt(n), s with denominator n - 1."""
    centre = mean(values)
    squares = math.fsum((value - centre) ** 2 for value in values)
    return math.sqrt(squares / (len(values) - 1) / len(values))


def quantile(values: Row, level: float) -> float:
    """With linear interpolation between the two values that lie around it."""
    ordered = sorted(values)
    place = level * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def calibration_error(confidences: Row, hits: Row) -> float:
    """Expected calibration error over 15 equal bins (lo, hi], weighted by their rows."""
    error = 0.0
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        inside = [n for n, value in enumerate(confidences) if low < value <= high]
        error += abs(math.fsum(confidences[n] - hits[n] for n in inside))
    return error / len(confidences)


def metrics(
    teacher: list[Row], student: list[Row], labels: list[int], kl_rows: Row
) -> dict[str, float]:
    """Every metric; `kl_rows`: KL(P || Q) of each row at the temperature of the loss."""
    pairs = list(zip(teacher, student, strict=True))
    found = {
        "kl_mean": mean(kl_rows),
        "kl_stderr": standard_error(kl_rows),
        "kl_median": quantile(kl_rows, 0.5),
        "kl_p90": quantile(kl_rows, 0.9),
        "kl_p95": quantile(kl_rows, 0.95),
        "kl_p99": quantile(kl_rows, 0.99),
        "kl_p999": quantile(kl_rows, 0.999),
        "kl_max": max(kl_rows),
        "top1_agreement": mean([float(top(t) == top(s)) for t, s in pairs]),
        "top5_agreement": mean([top5_agreement(t, s) for t, s in pairs]),
    }
    for side, rows in (("student", student), ("teacher", teacher)):
        hits = [float(top(row) == label) for row, label in zip(rows, labels, strict=True)]
        losses = [cross_entropy(student=r, labels=y) for r, y in zip(rows, labels, strict=True)]
        found |= {
            f"{side}_accuracy": mean(hits),
            f"{side}_nll": mean(losses),
            f"{side}_entropy": mean([entropy(row) for row in rows]),
            f"{side}_ece": calibration_error([confidence(row) for row in rows], hits),
        }
    return found


def times(rows: list[Row], matrix: list[Row]) -> list[Row]:
    """The matrix product of `rows` and `matrix`."""
    columns = list(zip(*matrix, strict=True))
    return [
        [math.fsum(a * b for a, b in zip(row, column, strict=True)) for column in columns]
        for row in rows
    ]


def least_squares(x: list[Row], y: list[Row], ridge: float) -> list[Row]:
    """The W that minimises |X W - Y|^2 + ridge |W|^2, by Gauss-Jordan elimination."""
    transposed = [list(column) for column in zip(*x, strict=True)]
    rows = [
        [value + ridge * (n == m) for m, value in enumerate(left)] + right
        for n, (left, right) in enumerate(
            zip(times(transposed, x), times(transposed, y), strict=True)
        )
    ]
    for n in range(len(rows)):
        best = max(range(n, len(rows)), key=lambda m: abs(rows[m][n]))
        rows[n], rows[best] = rows[best], rows[n]
        rows[n] = [value / rows[n][n] for value in rows[n]]
        for m in range(len(rows)):
            if m != n:
                rows[m] = [a - rows[m][n] * b for a, b in zip(rows[m], rows[n], strict=True)]
    return [row[len(rows) :] for row in rows]

"""Slow references: plain Python floats and loops, straight from the formulas, one row at a time.

This module never imports the package; what it says is held against the package by the tests.
"""

import itertools
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
    *,
    teacher: Row,
    student: Row,
    temperature: float = 1.0,
    temperature_squared: bool = True,
    with_entropy: bool = False,
) -> float:
    """T^2 KL(P || Q), or T^2 times the cross-entropy."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    more = entropy(p) if with_entropy else 0.0
    return factor(temperature, temperature_squared) * (divergence(p, q) + more)


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
    swap_mixture: bool = False,
    kl_at_ends: bool = False,
) -> float:
    """T^2 [b KL(P || M) + (1 - b) KL(Q || M)]."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    if beta in (0.0, 1.0) and kl_at_ends:
        value = divergence(q, p) if beta else divergence(p, q)
        return factor(temperature, temperature_squared) * value
    m = mixture(p, q, 1 - beta if swap_mixture else beta)
    sides = [(share, side) for share, side in ((beta, p), (1 - beta, q)) if share]
    value = math.fsum(share * divergence(side, m) for share, side in sides)
    return factor(temperature, temperature_squared) * value


def log_of_mean(logs: Row, weights: Row) -> float:
    """log of the weighted mean of exp(log)."""
    top = max(logs)
    if top == -math.inf:
        return top
    pairs = zip(logs, weights, strict=True)
    return top + math.log(math.fsum(weight * math.exp(log - top) for log, weight in pairs))


def skew_kl(
    *,
    teacher: Row,
    student: Row,
    alpha: float = 0.1,
    temperature: float = 1.0,
    temperature_squared: bool = True,
    with_entropy: bool = False,
) -> float:
    """T^2 KL(P || a P + (1 - a) Q)."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    value = divergence(p, mixture(p, q, alpha)) + (entropy(p) if with_entropy else 0.0)
    return factor(temperature, temperature_squared) * value


def skew_reverse_kl(
    *,
    teacher: Row,
    student: Row,
    alpha: float = 0.1,
    temperature: float = 1.0,
    temperature_squared: bool = True,
) -> float:
    """T^2 KL(Q || (1 - a) P + a Q)."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    return factor(temperature, temperature_squared) * divergence(q, mixture(q, p, alpha))


def mixture(log_p: Row, log_q: Row, share: float) -> Row:
    """log(share P + (1 - share) Q)."""
    sides = [(log, part) for log, part in ((log_p, share), (log_q, 1 - share)) if part]
    columns = zip(*(log for log, _ in sides), strict=True)
    return [log_of_mean(list(column), [part for _, part in sides]) for column in columns]


def symmetric_kl(
    *,
    teacher: Row,
    student: Row,
    beta: float = 0.5,
    temperature: float = 1.0,
    temperature_squared: bool = True,
) -> float:
    """T^2 [b KL(P || Q) + (1 - b) KL(Q || P)]; a weight of 0 leaves its side out."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    sides = ((beta, p, q), (1 - beta, q, p))
    value = math.fsum(share * divergence(a, b) for share, a, b in sides if share)
    return factor(temperature, temperature_squared) * value


def alpha_jsd(
    *,
    teacher: Row,
    student: Row,
    beta: float = 0.5,
    temperature: float = 1.0,
    temperature_squared: bool = True,
) -> float:
    """T^2 [KL(P || M) / (1 - b) + KL(Q || M) / b], and KL and reverse KL at the ends."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    if beta in (0.0, 1.0):
        value = divergence(q, p) if beta else divergence(p, q)
    else:
        m = mixture(p, q, beta)
        value = divergence(p, m) / (1 - beta) + divergence(q, m) / beta
    return factor(temperature, temperature_squared) * value


def tvd(
    *, teacher: Row, student: Row, temperature: float = 1.0, temperature_squared: bool = False
) -> float:
    """T^2 sum |P - Q| / 2."""
    apart = probabilities_apart(teacher, student, temperature)
    return factor(temperature, temperature_squared) * math.fsum(map(abs, apart)) / 2


def probability_mse(
    *,
    teacher: Row,
    student: Row,
    temperature: float = 1.0,
    temperature_squared: bool = True,
    sum: bool = False,
) -> float:
    """T^2 times the mean of (P - Q)^2."""
    apart = probabilities_apart(teacher, student, temperature)
    squares = math.fsum(x * x for x in apart) / (1 if sum else len(apart))
    return factor(temperature, temperature_squared) * squares


def probabilities_apart(teacher: Row, student: Row, temperature: float) -> Row:
    """P - Q."""
    p, q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    return [math.exp(a) - math.exp(b) for a, b in zip(p, q, strict=True)]


def uld(
    *, teacher: Row, student: Row, temperature: float = 1.0, temperature_squared: bool = False
) -> float:
    """T^2 sum |sorted P - sorted Q|, the shorter one filled up with zeros."""
    sides = [
        sorted(map(math.exp, log_softmax(row, temperature)), reverse=True)
        for row in (teacher, student)
    ]
    pairs = itertools.zip_longest(*sides, fillvalue=0.0)
    value = math.fsum(abs(a - b) for a, b in pairs)
    return factor(temperature, temperature_squared) * value


def dkd(
    *,
    teacher: Row,
    student: Row,
    labels: int,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 1.0,
    temperature_squared: bool = True,
) -> float:
    """T^2 [alpha KL(label or not) + beta KL(the other classes)]."""
    binary, others = [], []
    for row in (teacher, student):
        logs = log_softmax(row, temperature)
        rest = [x for n, x in enumerate(logs) if n != labels]
        total = log_of_mean(rest, [1.0] * len(rest))
        binary.append([logs[labels], total])
        others.append(rest if total == -math.inf else [x - total for x in rest])
    value = alpha * divergence(*binary) if alpha else 0.0
    if beta and max(others[0]) > -math.inf:
        value += beta * divergence(*others)
    return factor(temperature, temperature_squared) * value


def huber(*, teacher: Row, student: Row, delta: float = 1.0, sum: bool = False) -> float:
    """Mean of d^2 / 2, linear from delta on."""
    sizes = [abs(t - s) for t, s in zip(teacher, student, strict=True)]
    parts = [d * d / 2 if d <= delta else delta * (d - delta / 2) for d in sizes]
    return math.fsum(parts) / (1 if sum else len(parts))


def leads(teacher: Row, student: Row, k: int) -> Row:
    """s_i - s_j over the pairs of the teacher's top k, i above j."""
    ranks = sorted(range(len(teacher)), key=lambda n: -teacher[n])[:k]
    return [student[i] - student[j] for i, j in itertools.combinations(ranks, 2)]


def topk_hinge(*, teacher: Row, student: Row, k: int = 10, margin: float = 1.0) -> float:
    """Mean over pairs of max(0, margin - (s_i - s_j))."""
    return mean([max(0.0, margin - lead) for lead in leads(teacher, student, k)])


def topk_logistic(*, teacher: Row, student: Row, k: int = 10) -> float:
    """Mean over pairs of log(1 + exp(s_j - s_i))."""
    return mean([log_of_mean([0.0, -lead], [1.0, 1.0]) for lead in leads(teacher, student, k)])


def standardized(row: Row) -> Row:
    """Mean 0 and sample standard deviation 1 over the classes that are not masked."""
    there = [x for x in row if x > -math.inf]
    centre = mean(there)
    variance = math.fsum((x - centre) ** 2 for x in there) / max(1, len(there) - 1)
    deviation = math.sqrt(variance) or 1.0
    return [(x - centre) / deviation for x in row]


def l1(*, teacher: Row, student: Row, sum: bool = False) -> float:
    """Mean of |teacher - student|."""
    sizes = math.fsum(abs(t - s) for t, s in zip(teacher, student, strict=True))
    return sizes / (1 if sum else len(teacher))


def smooth_l1(*, teacher: Row, student: Row, beta: float = 1.0, sum: bool = False) -> float:
    """Mean of d^2 / (2 beta), and |d| - beta / 2 from beta on."""
    return huber(teacher=teacher, student=student, delta=beta, sum=sum) / beta


# --- sequences, [positions][dim] ---------------------------------------------------------------


def attention(*, teacher: list[Row], student: list[Row]) -> float:
    """Sum of (A / |A| - B / |B|)^2."""
    one, other = (unit([x for row in rows for x in row]) for rows in (teacher, student))
    return math.fsum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def minilm_relation(*, teacher: list[Row], student: list[Row], heads: int) -> float:
    """Mean over heads and positions of KL(softmax(X X^T / sqrt(d)))."""
    found = []
    for head in range(heads):
        sides = []
        for rows in (teacher, student):
            size = len(rows[0]) // heads
            parts = [row[head * size : (head + 1) * size] for row in rows]
            scale = math.sqrt(size)
            sides.append([log_softmax([dot(a, b) / scale for b in parts]) for a in parts])
        found += [divergence(p, q) for p, q in zip(*sides, strict=True)]
    return mean(found)


# --- relations of the rows of a batch: one number for the batch ---------------------------------


def dot(xs: Row, ys: Row) -> float:
    """The product of two rows."""
    return math.fsum(x * y for x, y in zip(xs, ys, strict=True))


def difference(xs: Row, ys: Row) -> Row:
    """x - y."""
    return [x - y for x, y in zip(xs, ys, strict=True)]


def smooth(x: float) -> float:
    """Huber with delta 1."""
    return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5


def apart(one: list[Row], other: list[Row]) -> Row:
    """All differences of the entries of two matrices."""
    return [d for a, b in zip(one, other, strict=True) for d in difference(a, b)]


def rkd_distance(*, teacher: list[Row], student: list[Row]) -> float:
    """Mean over all pairs of Huber of the distances by their mean."""
    sides = []
    for rows in (teacher, student):
        found = [[math.hypot(*difference(x, y)) for y in rows] for x in rows]
        total = math.fsum(map(math.fsum, found)) / max(1, len(rows) * (len(rows) - 1))
        sides.append([[x / (total or 1.0) for x in row] for row in found])
    return mean([smooth(d) for d in apart(*sides)])


def rkd_angle(*, teacher: list[Row], student: list[Row]) -> float:
    """Mean over all triples of Huber of the cosines of the angles at the first."""
    sides = []
    for rows in (teacher, student):
        lines = [[unit(difference(x, at)) for x in rows] for at in rows]
        sides.append([dot(a, b) for line in lines for a in line for b in line])
    return mean([smooth(d) for d in difference(*sides)])


def similarity_preserving(*, teacher: list[Row], student: list[Row]) -> float:
    """Mean squared difference of X X^T with rows of length 1."""
    sides = [[unit([dot(x, y) for y in rows]) for x in rows] for rows in (teacher, student)]
    return mean([d * d for d in apart(*sides)])


def pkt(*, teacher: list[Row], student: list[Row], epsilon: float = 0.0) -> float:
    """Mean over all pairs of p log(p / q)."""
    found = []
    sides = []
    for rows in (teacher, student):
        lengths = [math.hypot(*row) + epsilon for row in rows]
        units = [[x / (n or 1.0) for x in row] for row, n in zip(rows, lengths, strict=True)]
        similar = [[(1 + dot(x, y)) / 2 for y in units] for x in units]
        sides.append([[x / math.fsum(row) for x in row] for row in similar])
    for one, other in zip(*sides, strict=True):
        if epsilon:
            pairs = zip(one, other, strict=True)
            found.append(mean([p * math.log((p + epsilon) / (q + epsilon)) for p, q in pairs]))
            continue
        logs = [[math.log(x) if x > 0 else -math.inf for x in row] for row in (one, other)]
        found.append(divergence(*logs) / len(one))
    return mean(found)


def nst(*, teacher: list[Row], student: list[Row]) -> float:
    """MMD^2 of the dimensions, each of length 1 over the batch, with the kernel (x y)^2."""
    one, other = (
        [unit(list(column)) for column in zip(*rows, strict=True)] for rows in (teacher, student)
    )

    def kernel(xs: list[Row], ys: list[Row]) -> float:
        return mean([dot(x, y) ** 2 for x in xs for y in ys])

    return kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)


def correlation_congruence(
    *, teacher: list[Row], student: list[Row], gamma: float = 0.4, order: int = 2
) -> float:
    """Mean squared difference of the Taylor series of the Gaussian kernel."""

    def kernel(x: Row, y: Row) -> float:
        powers = range(order + 1)
        series = math.fsum((2 * gamma * dot(x, y)) ** p / math.factorial(p) for p in powers)
        return math.exp(-2 * gamma) * series

    sides = []
    for rows in (teacher, student):
        units = [unit(row) for row in rows]
        sides.append([[kernel(x, y) for y in units] for x in units])
    return mean([d * d for d in apart(*sides)])


def linear_cka(*, teacher: list[Row], student: list[Row]) -> float:
    """1 - HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), HSIC = tr(K H L H)."""
    sides = []
    for rows in (teacher, student):
        middle = [mean(list(column)) for column in zip(*rows, strict=True)]
        centred = [difference(row, middle) for row in rows]
        sides.append([dot(x, y) for x in centred for y in centred])
    if not any(map(any, sides)):
        return 0.0
    return 1.0 - dot(unit(sides[0]), unit(sides[1]))


def linear_cka_unbiased(*, teacher: list[Row], student: list[Row]) -> float:
    """The same from the unbiased estimate of HSIC by its three terms."""
    sides = []
    for rows in (teacher, student):
        middle = [mean(list(column)) for column in zip(*rows, strict=True)]
        centred = [difference(row, middle) for row in rows]
        sides.append([[dot(x, y) * (x is not y) for y in centred] for x in centred])
    own = unbiased_hsic(sides[0], sides[0]) * unbiased_hsic(sides[1], sides[1])
    return 1.0 - unbiased_hsic(*sides) / math.sqrt(own) if own > 0 else 1.0


def unbiased_hsic(one: list[Row], other: list[Row]) -> float:
    """Of two matrices without their diagonal, symmetric."""
    n = len(one)
    sums = [[math.fsum(row) for row in rows] for rows in (one, other)]
    trace = math.fsum(dot(a, b) for a, b in zip(one, other, strict=True))
    totals = math.fsum(sums[0]) * math.fsum(sums[1]) / ((n - 1) * (n - 2))
    return (trace + totals - 2 / (n - 2) * dot(*sums)) / (n * (n - 3))


def dist(
    *,
    teacher: list[Row],
    student: list[Row],
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
    temperature_squared: bool = True,
    epsilon: float = 0.0,
) -> float:
    """T^2 [b mean over rows of 1 - Pearson + c mean over classes of it]."""
    p, q = (
        [[math.exp(x) for x in log_softmax(row, temperature)] for row in rows]
        for rows in (teacher, student)
    )
    between = [pearson_distance(a, b, epsilon) for a, b in zip(p, q, strict=True)]
    columns = [[list(column) for column in zip(*rows, strict=True)] for rows in (p, q)]
    within = [pearson_distance(a, b, epsilon) for a, b in zip(*columns, strict=True)]
    value = beta * mean(between) + gamma * mean(within)
    return factor(temperature, temperature_squared) * value


def pearson_distance(xs: Row, ys: Row, epsilon: float = 0.0) -> float:
    """1 - the correlation, as half the squared distance of both at mean 0 and length 1."""
    if epsilon:
        one, other = ([x - mean(row) for x in row] for row in (xs, ys))
        return 1 - dot(one, other) / (math.hypot(*one) * math.hypot(*other) + epsilon)
    one, other = (unit([x - mean(row) for x in row]) for row in (xs, ys))
    if not (any(one) and any(other)):
        return float(any(one) or any(other))
    return math.fsum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / 2


def mse(*, teacher: Row, student: Row, sum: bool = False) -> float:
    """Mean of (teacher - student)^2, or the sum."""
    squares = math.fsum((t - s) ** 2 for t, s in zip(teacher, student, strict=True))
    return squares / (1 if sum else len(teacher))


def unit(row: Row) -> Row:
    """The row at length 1; a zero row stays zero."""
    length = math.hypot(*row)
    return [x / length for x in row] if length else row


def cosine(*, teacher: Row, student: Row) -> float:
    """1 - cos(teacher, student); the cosine of a zero row is 0."""
    pairs = zip(unit(teacher), unit(student), strict=True)
    return 1.0 - math.fsum(t * s for t, s in pairs)


def normalized_mse(*, teacher: Row, student: Row, sum: bool = False) -> float:
    """Mean of the squared difference of both rows at length 1."""
    return mse(teacher=unit(teacher), student=unit(student), sum=sum)


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


def acceptance_rate(teacher: Row, student: Row) -> float:
    """Sum of min(P, Q) at temperature 1."""
    pairs = zip(log_softmax(teacher), log_softmax(student), strict=True)
    return math.fsum(math.exp(min(pair)) for pair in pairs)


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
        "acceptance_rate": mean([acceptance_rate(t, s) for t, s in pairs]),
    }
    nll: dict[str, Row] = {}
    for side, rows in (("student", student), ("teacher", teacher)):
        hits = [float(top(row) == label) for row, label in zip(rows, labels, strict=True)]
        losses = [cross_entropy(student=r, labels=y) for r, y in zip(rows, labels, strict=True)]
        nll[side] = losses
        found |= {
            f"{side}_accuracy": mean(hits),
            f"{side}_nll": mean(losses),
            f"{side}_perplexity": math.exp(mean(losses)),
            f"{side}_entropy": mean([entropy(row) for row in rows]),
            f"{side}_ece": calibration_error([confidence(row) for row in rows], hits),
        }
    both = list(zip(nll["student"], nll["teacher"], strict=True))
    ratio = found["student_perplexity"] / found["teacher_perplexity"]
    return found | {
        "perplexity_ratio": ratio,
        "perplexity_ratio_stderr": ratio * standard_error([s - t for s, t in both]),
        "label_probability_rms": math.sqrt(
            mean([(math.exp(-s) - math.exp(-t)) ** 2 for s, t in both])
        ),
    }


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

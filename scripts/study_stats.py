"""The study's statistics: Student's t, paired tests, the share of the gap that is closed, and its bootstrap.

Standard library only. Books are `[targets, sum of losses in nats, right targets]`, one a held-out document, in the order of the split.
"""

import math
import random
from operator import mul
from statistics import mean, stdev

DRAWS = 10_000
DRAW_SEED = 20211003


def incomplete_beta(a, b, x):
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - incomplete_beta(b, a, 1.0 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0) or tiny)
    fraction = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / (1.0 + term * d or tiny)
            c = 1.0 + term / c or tiny
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return math.exp(log_front) * fraction / a


def t_below(t, freedom):
    """The probability that Student's t of so many degrees of freedom is at most `t`."""
    tail = 0.5 * incomplete_beta(0.5 * freedom, 0.5, freedom / (freedom + t * t))
    return tail if t < 0.0 else 1.0 - tail


def t_quantile(probability, freedom):
    """The t below which Student's t lies with this probability, of 0.5 and more."""
    low, high = 0.0, 1.0
    while t_below(high, freedom) < probability:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if t_below(middle, freedom) < probability else (low, middle)
    return high


def spread(values):
    """The standard deviation of a sample; none of one value."""
    return stdev(values) if len(values) > 1 else None


def paired(differences, margin=0.0):
    """The t test of paired differences against `margin`: mean, sd, t, p of both sides and of "below", and a 95 % interval."""
    count, centre, sd = len(differences), mean(differences), spread(differences)
    found = {"n": count, "mean": centre, "sd": sd, "t": None, "p": None, "p_below": None, "interval": None}
    if not sd:
        return found
    error = sd / math.sqrt(count)
    t = (centre - margin) / error
    half = t_quantile(0.975, count - 1) * error
    return {**found, "t": t, "p": 2.0 * t_below(-abs(t), count - 1), "p_below": t_below(t, count - 1),
            "interval": (centre - half, centre + half)}


def gap_closed(half, other, full):
    """φ: the share of the gap between `half` and `full` that `other` closes."""
    return (half - other) / (half - full) if half != full else math.nan


def at_cost(half, full, cost_half, cost_full, cost):
    """What the baseline would have at this cost: on the line through its two ends."""
    return half + (full - half) * (cost - cost_half) / (cost_full - cost_half)


def percentile(ordered, share):
    """A percentile of sorted values, with a line between neighbours."""
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def bootstrap(arms, draws=DRAWS, seed=DRAW_SEED):
    """Draws of the means of each arm, where seeds, and books where they are given, are drawn with replacement.

    `arms` has a list of runs for each arm, all in the same order of seeds: `{"loss", "accuracy", "books" or None}`. All arms take the
    same seeds and the same books in a draw. Returns for each draw a list of (loss, accuracy in %) by arm.
    """
    generator = random.Random(seed)
    count = len(arms[0])
    with_books = all(run["books"] for arm in arms for run in arm)
    books = len(arms[0][0]["books"]) if with_books else 0
    columns = [[[list(column) for column in zip(*run["books"])] for run in arm] for arm in arms] if with_books else []
    found = []
    for _ in range(draws):
        chosen = [generator.randrange(count) for _ in range(count)]
        if not with_books:
            found.append([(mean(arm[at]["loss"] for at in chosen), mean(arm[at]["accuracy"] for at in chosen)) for arm in arms])
            continue
        weights = [0] * books
        for _ in range(books):
            weights[generator.randrange(books)] += 1
        draw = []
        for arm in columns:
            loss = accuracy = 0.0
            for at in chosen:
                targets, losses, right = (sum(map(mul, weights, column)) for column in arm[at])
                loss += losses / targets / count
                accuracy += 100.0 * right / targets / count
            draw.append((loss, accuracy))
        found.append(draw)
    return found


"""Learning curves over label counts: means with bands, where own and control cross, what it is
worth.

Between two label counts curves are taken as straight on a logarithmic label axis. Both label
numbers that a report states (crossover, label-equivalence) get their interval by inverting the
interval of a difference: all label counts at which the data cannot tell the two sides apart (the
idea of Fieller 1954). That keeps its coverage with five seeds, where resampling five seeds would
not. An end that the measured counts do not bound is 0 or infinite.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from headstart.evaluate.differences import Differences
from headstart.evaluate.statistics import LEVEL, Floats, Interval, mean_interval
from headstart.report.cells import ScoreTable

GRID = 1000  # label counts tried between the fewest and the most


@dataclass(frozen=True)
class Point:
    """Mean score of one arm at one label count, over seeds."""

    labels: int
    mean: float
    interval: Interval
    seeds: int
    seconds: float  # mean of a cell


@dataclass(frozen=True)
class LabelNumber:
    """A number of labels with its interval; infinite: more than was measured, 0: fewer."""

    estimate: float
    interval: Interval


def arm_curve(table: ScoreTable, arm: str, *, level: float = LEVEL) -> list[Point]:
    """The learning curve of one arm: a point for each label count that has a finished cell."""
    points = []
    for labels in sorted({cell.labels for cell in table.done(arm)}):
        cells = table.done(arm, labels=labels)
        scores = [cell.score for cell in cells]
        seconds = float(np.mean([cell.seconds for cell in cells]))
        interval = mean_interval(scores, level=level)
        points.append(Point(labels, float(np.mean(scores)), interval, len(cells), seconds))
    return points


def smooth(
    means: Sequence[float] | Floats, weights: Sequence[float] | Floats, *, rising: bool
) -> Floats:
    """The closest curve that only rises (or only falls): isotonic regression, weighted least
    squares.
    """
    fit = optimize.isotonic_regression(
        np.asarray(means, dtype=np.float64),
        weights=np.asarray(weights, dtype=np.float64),
        increasing=rising,
    )
    return np.asarray(fit.x, dtype=np.float64)


def crossover(
    differences: Differences, *, margin: float, falling: bool = True, level: float = LEVEL
) -> LabelNumber:
    """The label count at which the advantage falls to the margin (or rises to it).

    The estimate is where the monotone curve through the differences meets the margin. Infinite:
    not by the largest count measured. 0: already at the smallest.
    """
    sign = 1.0 if falling else -1.0
    known = np.isfinite(np.diag(differences.covariance))
    positions = np.log(differences.labels[known])
    mean = sign * (differences.mean[known] - margin)
    covariance = differences.covariance[np.ix_(known, known)]
    curve = smooth(mean, 1 / np.diag(covariance), rising=False)
    estimate = math.exp(_meets(positions, curve))
    grid = np.linspace(positions[0], positions[-1], GRID)
    weights = _interpolation(positions, grid)  # G L
    centre = weights @ mean
    half = differences.quantile((1 + level) / 2) * np.sqrt(
        np.einsum("gl,lm,gm->g", weights, covariance, weights)
    )
    return LabelNumber(estimate, _open_interval(grid, centre - half, centre + half, level))


def label_equivalence(
    differences: Differences, position: int, *, level: float = LEVEL
) -> LabelNumber:
    """How many labels the best control needs to reach the best own arm's score at one label count.

    position: index of that label count. Infinite: more than the largest count measured.
    """
    control = differences.control_curve
    reached = differences.own_curve[:, position]
    complete = np.isfinite(control).all(axis=1) & np.isfinite(reached)
    positions = np.log(differences.labels)
    if complete.sum() < 2:
        return LabelNumber(math.nan, Interval(0.0, math.inf, level))
    control, reached = control[complete], reached[complete]
    curve = smooth(control.mean(axis=0), np.ones(len(positions)), rising=True)
    estimate = math.exp(_meets(positions, reached.mean() - curve))
    grid = np.linspace(positions[0], positions[-1], GRID)
    weights = _interpolation(positions, grid)
    gaps = reached[:, None] - control @ weights.T  # S G
    prior = (weights @ differences.seed_sd**2 + differences.seed_sd[position] ** 2) / 2
    seeds = len(gaps)
    shared = differences.prior
    squares = ((gaps - gaps.mean(axis=0)) ** 2).sum(axis=0)
    variance = (shared * prior + squares) / (shared + seeds - 1)
    other = differences.test_se[position] ** 2 + differences.doubt[position] ** 2
    half = stats.t.ppf((1 + level) / 2, shared + seeds - 1) * np.sqrt(variance / seeds + other)
    centre = gaps.mean(axis=0)
    return LabelNumber(estimate, _open_interval(grid, centre - half, centre + half, level))


def _meets(positions: Floats, falling: Floats) -> float:
    """Where a falling curve meets 0: inf if it stays above, -inf if it starts below."""
    if falling[0] <= 0:
        return -math.inf
    below = np.flatnonzero(falling <= 0)
    if not below.size:
        return math.inf
    right = int(below[0])
    share = falling[right - 1] / (falling[right - 1] - falling[right])
    return float(positions[right - 1] + share * (positions[right] - positions[right - 1]))


def _interpolation(positions: Floats, grid: Floats) -> Floats:
    """Weights (grid, positions) of straight-line interpolation."""
    unit = np.eye(len(positions))
    return np.stack([np.interp(grid, positions, row) for row in unit], axis=1)


def _open_interval(grid: Floats, low: Floats, high: Floats, level: float) -> Interval:
    """Label counts whose band includes 0, for a falling difference; ends beyond the grid are
    open.
    """
    last = len(grid) - 1
    above, below = low > 0, high < 0
    if above.all():
        return Interval(math.exp(grid[last]), math.inf, level)
    if below.all():
        return Interval(0.0, math.exp(grid[0]), level)
    undecided = np.flatnonzero(~above & ~below)
    if undecided.size:
        start, end = int(undecided[0]) - 1, int(undecided[-1]) + 1
    else:  # the band is narrower than a step of the grid
        start = int(np.flatnonzero(np.diff(above))[0])
        end = start + 1
    low_end = 0.0 if start < 0 else math.exp(grid[start])
    return Interval(low_end, math.inf if end > last else math.exp(grid[end]), level)

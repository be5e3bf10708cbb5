"""Intervals, paired comparisons and power for few seeds: arrays of scores in, numbers with their
spread out.

Scores are paired: seed s saw the same labelled rows in every arm, so differences are formed seed
by seed before anything is averaged. With fewer than `BOOTSTRAP_FROM` seeds the t interval is used,
since a bootstrap of five numbers is too narrow; from there on the BCa bootstrap, which assumes no
shape. The seeds share one test file, so its own sampling noise does not shrink with more seeds: it
is added when per-example correctness is given.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

LEVEL = 0.90
BOOTSTRAP_FROM = 15
MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval; an end is infinite where the data do not bound it."""

    low: float
    high: float
    level: float = LEVEL

    def contains(self, value: float) -> bool:
        """Whether the value lies inside, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class PairedDifference:
    """Mean of (own - control) over seeds. sd is that of one seed; se includes test-set noise if
    known.
    """

    mean: float
    sd: float
    se: float
    seeds: int
    interval: Interval
    test_se: float = 0.0


def mean_interval(values: npt.ArrayLike, *, level: float = LEVEL) -> Interval:
    """Interval of a mean: Student's t below `BOOTSTRAP_FROM` values, BCa bootstrap from there on.

    values: (seeds,). One value gives an unbounded interval.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.size < 2:
        return Interval(-math.inf, math.inf, level)
    if scores.size >= BOOTSTRAP_FROM and np.ptp(scores) > 0:
        return bootstrap_interval(scores, level=level)
    half = float(stats.t.ppf((1 + level) / 2, scores.size - 1)) * _standard_error(scores)
    return Interval(float(scores.mean()) - half, float(scores.mean()) + half, level)


def bootstrap_interval(values: npt.ArrayLike, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """BCa bootstrap interval of a mean; the same seed gives the same interval.

    Source: Efron 1987, "Better bootstrap confidence intervals", through scipy.stats.bootstrap.
    """
    result = stats.bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        confidence_level=level,
        n_resamples=4000,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return Interval(float(low), float(high), level)


def paired_difference(
    own: npt.ArrayLike,
    control: npt.ArrayLike,
    *,
    level: float = LEVEL,
    own_correct: npt.NDArray[np.bool_] | None = None,
    control_correct: npt.NDArray[np.bool_] | None = None,
) -> PairedDifference:
    """Difference of two arms over paired seeds.

    own, control: (seeds,) scores of the same draws in the same order.
    own_correct, control_correct: (seeds, test rows), whether each test row was answered right. With
    both, the sampling noise of the test file is added to that of the seeds.
    Raises ValueError if the seeds do not pair up.
    """
    first, second = np.asarray(own, dtype=np.float64), np.asarray(control, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise ValueError(
            f"paired scores must be two lists of equal length, but have shapes {first.shape} and "
            f"{second.shape}: leave out the seeds that only one arm has"
        )
    difference = first - second
    sd = float(difference.std(ddof=1)) if difference.size > 1 else math.nan
    seed_se = sd / math.sqrt(difference.size) if difference.size > 1 else math.inf
    test_se = 0.0
    if own_correct is not None and control_correct is not None:
        test_se = test_noise(own_correct, control_correct)
    interval = mean_interval(difference, level=level)
    if test_se > 0 and math.isfinite(seed_se):
        interval = _widened(float(difference.mean()), seed_se, test_se, difference.size, level)
    se = math.hypot(seed_se, test_se)
    return PairedDifference(float(difference.mean()), sd, se, difference.size, interval, test_se)


def test_noise(own: npt.NDArray[np.bool_], control: npt.NDArray[np.bool_]) -> float:
    """Standard error of a paired difference in accuracy that comes from the choice of test rows.

    own, control: (seeds, test rows). The rows are the sample; seeds are averaged first, and the
    part of the row-to-row variance that is only seed noise (measured within rows) is taken off
    again.
    """
    gaps = own.astype(np.float64) - control.astype(np.float64)  # seeds, rows
    seeds, rows = gaps.shape
    if rows < 2:
        return 0.0
    between = float(gaps.mean(axis=0).var(ddof=1))
    within = float(gaps.var(axis=0, ddof=1).mean()) / seeds if seeds > 1 else 0.0
    return math.sqrt(max(between - within, 0.0) / rows)


test_noise.__test__ = False  # type: ignore[attr-defined]  # a statistic, not a test case


def wilson(correct: int, total: int, *, level: float = LEVEL) -> Interval:
    """Interval of an accuracy measured on `total` test rows, sound near 0 and 1 too.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(
            f"{correct} right answers out of {total}: need 0 <= right <= total, total >= 1"
        )
    z = float(stats.norm.ppf((1 + level) / 2))
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return Interval(max(0.0, centre - half), min(1.0, centre + half), level)


def seeds_needed(difference: float, sd: float, *, power: float = 0.8, level: float = LEVEL) -> int:
    """Seeds at which a paired t test finds a true difference with the wanted power.

    difference: true mean difference; sd: standard deviation of one seed's difference, same unit.
    The test is one-sided at (1 - level) / 2, like the bound of an interval of that level. Exact:
    it uses the non-central t distribution. Capped at 10,000. Source: Cohen 1988, "Statistical
    power analysis", chapter 2, case 4 (paired).
    """
    if not difference or not math.isfinite(sd):
        return MOST_SEEDS
    if sd <= 0:
        return 2
    size = abs(difference) / sd
    alpha = (1 - level) / 2

    def reached(n: int) -> bool:
        border = stats.t.ppf(1 - alpha, n - 1)
        return bool(stats.nct.sf(border, n - 1, size * math.sqrt(n)) >= power)

    low, high = 2, MOST_SEEDS
    if (2.8 / size) ** 2 > high:
        return MOST_SEEDS
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return low


def more_seeds(
    difference: float, sd: float, *, have: int, power: float = 0.8, level: float = LEVEL
) -> int:
    """How many seeds beyond those at hand resolve a difference (0 if there are enough)."""
    return max(0, seeds_needed(difference, sd, power=power, level=level) - have)


def more_test_rows(
    difference: float, test_se: float, *, have: int, power: float = 0.8, level: float = LEVEL
) -> int:
    """How many more test rows bring their noise down so far that a difference can be resolved.

    test_se: standard error from the choice of `have` test rows, as `test_noise` gives it.
    """
    if not difference or test_se <= 0:
        return 0
    wanted = abs(difference) / float(stats.norm.ppf(power) + stats.norm.ppf((1 + level) / 2))
    return max(0, math.ceil(have * (test_se / wanted) ** 2) - have)


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1)) / math.sqrt(values.size)


def _widened(mean: float, seed_se: float, test_se: float, seeds: int, level: float) -> Interval:
    """Seed and test noise together; degrees of freedom by Welch and Satterthwaite (1946)."""
    total = seed_se**2 + test_se**2
    freedom = (seeds - 1) * (total / seed_se**2) ** 2 if seed_se > 0 else math.inf
    half = float(stats.t.ppf((1 + level) / 2, min(freedom, 1e6))) * math.sqrt(total)
    return Interval(mean - half, mean + half, level)

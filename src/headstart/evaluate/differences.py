"""Best own arm minus best control at each label count, with its covariance, from few paired seeds.

Two dangers of a table of arms are dealt with here. The winner's curse: the best of several noisy
arms looks better than it is. Its expected optimism follows from the arms' noise and their gaps,
and is taken off, for own arms and for controls alike (choosing on the other seeds instead was
tried: unbiased, but 28 % noisier than the known best arms, which the seeds do not show). Few
seeds: a variance from five numbers is itself mostly noise, so each one is moderated towards what
all arms show at that label count, which adds up to `PRIOR_FREEDOM` degrees of freedom (the idea of
Smyth 2004, "Linear models and empirical Bayes methods", section 3, with a fixed instead of an
estimated prior weight).

Shapes: A arms, S seeds, L label counts, T test rows. A missing cell is NaN.
Where every seed draws the same rows (all labels used), the draw adds no noise and none is counted.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from headstart.evaluate.statistics import LEVEL, Floats, Interval

PRIOR_FREEDOM = 8.0  # at most; what moderation adds
PRIOR_SHARE = 2 / 3  # of the freedom that the other label counts have, since they are correlated
SMALLEST_SD = 1e-4  # a hundredth of a point: below it a spread is taken to be rounding
MOST_CORRELATION = 0.95
OPTIMISM_DRAWS = 2000
DOUBT = 1.0  # standard error of the optimism, as a share of its size


@dataclass(frozen=True)
class Differences:
    """Paired differences over label counts.

    labels, mean, seed_sd, test_se, doubt: (L,); doubt: standard error of the optimism. covariance:
    (L, L) of the mean, seed and test noise together. own, control: (L,), index of the arms
    compared, the best of each side. own_curve, control_curve: (S, L), their scores less their
    optimism. prior: degrees of freedom that moderation adds to those of the seeds.
    """

    labels: Floats
    mean: Floats
    covariance: Floats
    seed_sd: Floats
    test_se: Floats
    doubt: Floats
    seeds: npt.NDArray[np.int64]
    own: npt.NDArray[np.int64]
    control: npt.NDArray[np.int64]
    own_curve: Floats
    control_curve: Floats
    prior: float

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the t distribution that goes with the covariance: those of the
        label count that has the fewest seeds of all whose variance is known.
        """
        fewest = self.seeds[self.seeds > 1].min(initial=self.seeds.max(initial=0))
        return max(float(fewest) - 1, 1.0) + self.prior

    def interval(self, position: int, *, level: float = LEVEL) -> Interval:
        """Interval of the difference at one label count (not corrected for looking at several)."""
        freedom = max(float(self.seeds[position]) - 1, 1.0) + self.prior
        quantile = float(stats.t.ppf((1 + level) / 2, freedom))
        half = quantile * math.sqrt(self.covariance[position, position])
        return Interval(self.mean[position] - half, self.mean[position] + half, level)

    def quantile(self, probability: float) -> float:
        """Quantile of the t distribution that the intervals use."""
        return float(stats.t.ppf(probability, self.freedom))


def best_against_best(
    own: Floats,
    controls: Floats,
    *,
    labels: npt.ArrayLike,
    own_correct: npt.NDArray[np.generic] | None = None,
    control_correct: npt.NDArray[np.generic] | None = None,
) -> Differences:
    """Compare the best own arm with the best control at each label count.

    own, controls: (A, S, L) scores. own_correct, control_correct: (A, S, L, T), what each test row
    adds to the score (`metrics.of_each_row`); with both, the sampling noise of the test file is
    part of the covariance. Where a score is NaN they are not looked at. A label count at which
    fewer than two seeds have both sides gets an infinite variance. Raises ValueError if seeds or
    label counts do not match.
    """
    if own.shape[1:] != controls.shape[1:] or not len(own) or not len(controls):
        raise ValueError(
            f"own arms have shape {own.shape}, controls {controls.shape}: "
            "seeds and label counts must be the same"
        )
    arms = np.concatenate([own, controls])
    noise, correlation, beside = _noise_of_arms(arms)
    means = adjusted_means(arms)
    own_best, own_curve, own_doubt = _best(own, means[: len(own)], noise)
    control_best, control_curve, control_doubt = _best(controls, means[len(own) :], noise)
    gaps = own_curve - control_curve  # S L
    seeds = np.isfinite(gaps).sum(axis=0)
    prior_freedom = min(_prior_freedom(seeds), beside)
    sd = _moderated(gaps, noise, seeds, prior_freedom=prior_freedom)
    covariance = np.outer(sd, sd) * correlation
    both = np.isfinite(gaps).astype(np.float64)
    covariance *= (both.T @ both) / np.maximum(np.outer(seeds, seeds), 1)
    test = np.zeros_like(covariance)
    if own_correct is not None and control_correct is not None:
        answered = own_correct, control_correct
        test = _test_covariance(*answered, own_best, control_best, np.isfinite(gaps))
    doubt = DOUBT * np.hypot(own_doubt, control_doubt)
    covariance = covariance + test + np.diag(doubt**2)
    for position in np.flatnonzero(seeds < 2):
        covariance[position, position] = np.inf
    return Differences(
        labels=np.asarray(labels, dtype=np.float64),
        mean=_nanmean(gaps),
        covariance=covariance,
        seed_sd=sd,
        test_se=np.sqrt(np.diag(test)),
        doubt=doubt,
        seeds=seeds,
        own=own_best,
        control=control_best,
        own_curve=own_curve,
        control_curve=control_curve,
        prior=prior_freedom,
    )


def adjusted_means(arms: Floats) -> Floats:
    """Mean of each arm over seeds, (A, L), as if it had all seeds: an arm that misses hard draws
    gains nothing.

    arms: (A, S, L). The luck of a seed is the mean over the arms that have all seeds of that label
    count. -inf for an arm with fewer than two seeds, or fewer than half as many as the arm with
    the most (unless no arm has two).
    """
    present = np.isfinite(arms)
    count = present.sum(axis=1)  # A L
    most = count.max(axis=0)
    complete = (count == most) & (most > 0)  # A L
    weight = complete[:, None, :] & present
    total = np.where(weight, arms, 0.0).sum(axis=0)
    luck = np.where(weight.any(axis=0), total / np.maximum(weight.sum(axis=0), 1), 0.0)  # S L
    known = weight.any(axis=0)
    centre = np.where(known, luck, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    shift = np.where(known, luck - centre, 0.0)
    means = np.where(present, arms - shift, 0.0).sum(axis=1) / np.maximum(count, 1)
    enough = count >= np.minimum(most, np.maximum(2, (most + 1) // 2))
    return np.where(enough & (count > 0), means, -np.inf)


def optimism(means: Floats, error: float) -> float:
    """By how much the best of several measured means is expected to exceed the best true mean.

    means: (A,), each measured with its own independent standard error `error`. The true gaps to
    the best are taken as the measured ones less twice what noise alone adds to them
    (squared: 4 error^2), which errs on the side of a smaller advantage.
    """
    rivals = means[np.isfinite(means)]
    if rivals.size < 2 or error <= 0:
        return 0.0
    gaps = np.sqrt(np.maximum((rivals.max() - rivals) ** 2 - 4 * error**2, 0.0))
    gaps[int(rivals.argmax())] = 0.0
    draws = np.random.default_rng(0).standard_normal((OPTIMISM_DRAWS, rivals.size))
    return float((draws * error - gaps).max(axis=1).mean() - draws[:, gaps.argmin()].mean() * error)


def _best(
    scores: Floats, means: Floats, noise: Floats
) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Index (L,) of the arm with the best mean, its scores (S, L) less their optimism, and that
    (L,).

    What is taken off is itself a guess from noisy gaps: it counts as uncertain by `DOUBT` of its
    size.
    """
    best = means.argmax(axis=0)
    curve = np.take_along_axis(scores, best[None, None, :], axis=0)[0]
    seeds = np.maximum(np.isfinite(curve).sum(axis=0), 1)
    errors = np.sqrt(noise / seeds)
    taken_off = np.array([optimism(means[:, k], float(errors[k])) for k in range(len(best))])
    return best, curve - taken_off, taken_off


def _nanmean(gaps: Floats) -> Floats:
    present = np.isfinite(gaps)
    total = np.where(present, gaps, 0.0).sum(axis=0)
    return np.where(present.any(axis=0), total / np.maximum(present.sum(axis=0), 1), 0.0)


def _prior_freedom(seeds: npt.NDArray[np.int64]) -> float:
    """What the other label counts say about the variance at one of them; nothing if there are
    none.
    """
    known = np.maximum(seeds - 1, 0)
    return float(min(PRIOR_FREEDOM, PRIOR_SHARE * (known.sum() - known.max(initial=0))))


def _moderated(
    gaps: Floats, noise: Floats, seeds: npt.NDArray[np.int64], *, prior_freedom: float
) -> Floats:
    """Standard deviation (L,) of one seed's difference.

    The prior has the shape over label counts of the arms' noise and the size of this pair of arms.
    """
    residuals = gaps - _nanmean(gaps)  # S L
    freedom = np.maximum(seeds - 1, 0)
    sample = np.nansum(residuals**2, axis=0) / np.maximum(freedom, 1)
    usable = (freedom > 0) & (noise > SMALLEST_SD**2)
    ratio = float((sample[usable] / noise[usable]).mean()) if usable.any() else 1.0
    prior = np.where(noise > SMALLEST_SD**2, ratio * noise, sample)
    variance = (prior_freedom * prior + freedom * sample) / np.maximum(prior_freedom + freedom, 1)
    return np.asarray(np.sqrt(np.maximum(variance, SMALLEST_SD**2)))


def _noise_of_arms(arms: Floats) -> tuple[Floats, Floats, float]:
    """Variance left at each label count once arm and seed means are taken off, its correlation, and
    the degrees of freedom that it has beside those of any two arms.

    Arms that never vary (majority) are left out, and so are seeds and arms with missing cells, of
    which as few as can be. Two-way layout, so the degrees of freedom are (A - 1)(S - 1).
    """
    table = _without_gaps(arms)
    table = table[np.ptp(table, axis=1).max(axis=1, initial=0.0) > SMALLEST_SD]
    size, seeds, counts = table.shape
    if size < 2 or seeds < 2:
        return np.zeros(counts), np.eye(counts), 0.0
    left = table - table.mean(axis=1, keepdims=True)
    left = left - left.mean(axis=0, keepdims=True)
    variance = (left**2).sum(axis=(0, 1)) / ((size - 1) * (seeds - 1))
    scaled = left / np.sqrt(np.maximum(variance, SMALLEST_SD**2))
    products = np.einsum("asl,asm->lm", scaled, scaled) / ((size - 1) * (seeds - 1))
    pairs = products[np.triu_indices(counts, 1)]
    shared = float(np.clip(pairs.mean(), 0.0, MOST_CORRELATION)) if pairs.size else 0.0
    correlation = np.full((counts, counts), shared) + (1 - shared) * np.eye(counts)
    return variance, correlation, float((size - 2) * (seeds - 1))


def _without_gaps(arms: Floats) -> Floats:
    """The arms and seeds (A, S, L) that have all label counts, chosen for the most freedom.

    Seeds are taken by how many arms have them whole: the first k of them and the arms that have
    those, for the best k.
    """
    whole = np.asarray(np.isfinite(arms).all(axis=2))  # A S
    order = np.argsort(-whole.sum(axis=0), kind="stable")
    firsts = [order[:k] for k in range(1, len(order) + 1)]
    kept = [np.flatnonzero(whole[:, seeds].all(axis=1)) for seeds in firsts]
    best = max(range(len(firsts)), key=lambda k: (len(kept[k]) - 1) * (len(firsts[k]) - 1))
    return np.asarray(arms[np.ix_(kept[best], np.sort(firsts[best]))])


def _test_covariance(
    own: npt.NDArray[np.generic],
    controls: npt.NDArray[np.generic],
    own_index: npt.NDArray[np.int64],
    control_index: npt.NDArray[np.int64],
    paired: npt.NDArray[np.bool_],
) -> Floats:
    """Covariance (L, L) of the mean differences over other samples of test rows.

    paired: (S, L), where both sides have a cell. Beside the real rows stand two made-up ones, one
    for either side: a few rows that all agree do not prove that all others would. Their squares add
    up to 1, as those of half a row in each of the four cells do. Source: Agresti and Min 2005,
    "Simple improved confidence intervals for comparing matched proportions" ("Wald+2").
    """
    seed, count = np.indices(own.shape[1:3])
    gaps = own[own_index[count], seed, count].astype(np.float64)
    gaps -= controls[control_index[count], seed, count].astype(np.float64)  # S L T
    gaps = np.where(paired[:, :, None], gaps, 0.0)
    seeds, rows = paired.sum(axis=0), gaps.shape[2]
    each = gaps.sum(axis=0) / np.maximum(seeds, 1)[:, None]  # L T
    made_up = np.outer(np.ones(len(each)), [math.sqrt(0.5), -math.sqrt(0.5)])
    each = np.concatenate([each, made_up], axis=1)
    covariance = np.atleast_2d(np.cov(each))
    # what is only seed noise within a row is counted with the seeds already
    apart = np.where(paired[:, :, None], gaps - each[:, :rows], 0.0)
    within = (apart**2).sum(axis=0).mean(axis=1) / np.maximum((seeds - 1) * seeds, 1)
    floor = np.diag(covariance) - within
    scale = np.sqrt(np.clip(floor, 0.0, None) / np.maximum(np.diag(covariance), 1e-12))
    covariance = covariance * np.outer(scale, scale)
    return np.asarray(covariance / each.shape[1])

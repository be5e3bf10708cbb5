"""The verdict: did pretraining pay, judged by the best own arm against the best of a set of
controls.

The rule, in the order in which it is applied. An advantage counts from `margin` on (half a point).
1. *Does it pay anywhere?* The differences of every block of label counts that starts at the fewest
   or ends at the most are averaged (weights 1 / standard error). It does if the average over all
   counts passes a t test, or the largest of these t values passes a bound that allows for looking
   at all of them (max-t; their joint distribution is simulated from the estimated covariance).
   Each has half of 3.5 % one-sided error, which keeps a table of pure noise from "paying" in more
   than 1 report of 20, the approximations of few seeds included (tests/report/test_verdict.py).
2. If so, *where?* At either end the advantage stands if the difference there is clearly above the
   margin (20 % one-sided), or above it at all with no slope (10 % one-sided) that leads below it.
   Both ends: it pays. Only the few-label end: it pays below N. Only the many-label end: it pays
   from N on.
3. If not: it does not pay where the average over all counts is below the margin (5 % one-sided)
   and no single count points upward. Everything else: cannot tell, with the seeds, test rows or
   labels that would settle it. Selecting the best of several own arms does not flatter: see
   `evaluate.differences`.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.evaluate.differences import Differences, best_against_best
from headstart.evaluate.statistics import (
    LEVEL,
    MOST_SEEDS,
    Floats,
    Interval,
    more_seeds,
    more_test_rows,
)
from headstart.report.cells import Arm, ScoreTable
from headstart.report.curves import LabelNumber, crossover, label_equivalence

Kind = Literal["pays", "pays below", "pays from", "does not pay", "cannot tell"]
Lack = Literal["seeds", "test rows", "labels", "arms"]

MARGIN = 0.005  # half a point: a smaller advantage is not worth a pretraining run
ANYWHERE = 0.035  # one-sided error of "it pays somewhere", over all label counts together
AT_AN_END = 0.20
SLOPE = 0.10
OVERALL = 0.05
DRAWS = 4000
MAJORITY = "majority"
SMALLEST_RESOLVED = 0.005  # differences below half a point are not worth more seeds


@dataclass(frozen=True)
class Need:
    """What would settle it: how many more of what, to resolve which difference (a fraction)."""

    what: Lack
    more: int
    difference: float = 0.0


@dataclass(frozen=True)
class Gap:
    """The difference at one label count, between the arms named (those with the best mean)."""

    labels: int
    mean: float
    interval: Interval
    own: str
    control: str
    seeds: int


@dataclass(frozen=True)
class Worth:
    """With `labels` labels the own arm scores like the best control with `equivalent` labels."""

    labels: int
    equivalent: LabelNumber


@dataclass(frozen=True)
class Verdict:
    """An answer with its evidence. against: names of the controls. at: N of "pays below" and "pays
    from".
    """

    kind: Kind
    against: tuple[str, ...]
    margin: float
    gaps: tuple[Gap, ...] = ()
    at: LabelNumber | None = None
    worth: Worth | None = None
    need: Need | None = None
    level: float = LEVEL


def judge(
    table: ScoreTable, own: list[Arm], controls: list[Arm], *, margin: float = MARGIN
) -> Verdict:
    """Judge own arms against controls; see the head of this file for the rule.

    "cannot tell" without any test if a side is missing, or fewer than two seeds are paired
    everywhere.
    """
    against = tuple(arm.name for arm in controls)
    own_names, counts = [arm.name for arm in own], table.label_counts
    mine, theirs = table.scores(own_names), table.scores(list(against))
    if not np.isfinite(mine).any() or not np.isfinite(theirs).any():
        return Verdict("cannot tell", against, margin, need=Need("arms", 1))
    rights = table.correct(own_names), table.correct(list(against))
    alike = {(None if part is None else (part.shape[-1], part.dtype)) for part in rights}
    if rights[0] is None or rights[1] is None or len(alike) > 1:
        rights = (None, None)
    paired = np.isfinite(mine).any(axis=0) & np.isfinite(theirs).any(axis=0)  # S L
    kept = np.flatnonzero(paired.any(axis=0))
    if not kept.size:
        return Verdict("cannot tell", against, margin, need=Need("seeds", 2))
    differences = best_against_best(
        mine[:, :, kept],
        theirs[:, :, kept],
        labels=[counts[k] for k in kept],
        own_correct=None if rights[0] is None else rights[0][:, :, kept],
        control_correct=None if rights[1] is None else rights[1][:, :, kept],
    )
    rows = 0 if rights[0] is None else rights[0].shape[-1]
    verdict = judge_differences(
        differences, own_names, list(against), margin=margin, test_rows=rows
    )
    if verdict.kind == "cannot tell" and not _learned(table, differences, list(against), margin):
        need = Need("labels", int(differences.labels[-1]))
        verdict = replace(verdict, need=need)
    return verdict


def _learned(
    table: ScoreTable, differences: Differences, controls: list[str], margin: float
) -> bool:
    """Whether either side is above the trivial control, `MAJORITY`, at the most labels."""
    if MAJORITY not in controls:
        return True
    trivial = [cell.score for cell in table.done(MAJORITY, labels=int(differences.labels[-1]))]
    best = np.nanmean([differences.own_curve[:, -1], differences.control_curve[:, -1]], axis=1)
    return not trivial or float(best.max()) > float(np.mean(trivial)) + margin


def judge_differences(
    differences: Differences,
    own: list[str],
    controls: list[str],
    *,
    margin: float = MARGIN,
    test_rows: int = 0,
) -> Verdict:
    """The rule on differences that are already estimated; test_rows: 0 if not known."""
    gaps = tuple(_gap(differences, k, own, controls) for k in range(len(differences.labels)))
    known = np.isfinite(np.diag(differences.covariance))
    if not known.any():
        lacking = max(1, 2 - int(differences.seeds.max(initial=0)))
        return Verdict("cannot tell", tuple(controls), margin, gaps, need=Need("seeds", lacking))
    kind = _decide(differences, known, margin)
    at: LabelNumber | None = None
    need: Need | None = None
    if kind in ("pays below", "pays from"):
        at = crossover(differences, margin=margin, falling=kind == "pays below")
    if kind == "cannot tell":
        need = _need(differences, known, margin, test_rows)
    worth = None if kind in ("cannot tell", "does not pay") else _worth(differences, known, margin)
    return Verdict(kind, tuple(controls), margin, gaps, at, worth, need)


def _decide(differences: Differences, known: npt.NDArray[np.bool_], margin: float) -> Kind:
    mean = differences.mean[known] - margin
    covariance = differences.covariance[np.ix_(known, known)]
    blocks = _blocks(np.sqrt(np.diag(covariance)))
    ratios = (blocks @ mean) / np.sqrt(np.einsum("kl,lm,km->k", blocks, covariance, blocks))
    overall = float(ratios[len(mean) - 1])  # the block of all label counts
    anywhere = ratios.max() > _max_t(blocks, covariance, differences.freedom)
    if anywhere or overall > differences.quantile(1 - ANYWHERE / 2):
        first, last = _ends(differences, known, margin)
        if first and not last:
            return "pays below"
        if last and not first:
            return "pays from"
        if first or last:
            return "pays"
        return "pays below" if mean[0] >= mean[-1] else "pays from"
    single = mean / np.sqrt(np.diag(covariance))
    clearly_less = overall < -differences.quantile(1 - OVERALL)
    if clearly_less and single.max() < differences.quantile(1 - AT_AN_END):
        return "does not pay"
    return "cannot tell"


def _blocks(errors: Floats) -> Floats:
    """Averages over the first 1..L and the last L-1..1 label counts, weighted by 1 / error: (2L-1,
    L).
    """
    size = len(errors)
    starts = np.tril(np.ones((size, size)))
    ends = np.triu(np.ones((size, size)))[1:]
    blocks = np.concatenate([starts, ends]) / errors
    return np.asarray(blocks / blocks.sum(axis=1, keepdims=True))


def _max_t(blocks: Floats, covariance: Floats, freedom: float) -> float:
    """The value that the largest t value of all blocks passes with probability `ANYWHERE` under no
    effect.

    Source: Hothorn, Bretz and Westfall 2008, "Simultaneous inference in general parametric models".
    """
    rng = np.random.default_rng(0)
    scale = np.sqrt(np.einsum("kl,lm,km->k", blocks, covariance, blocks))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    noise = rng.standard_normal((DRAWS, len(covariance))) @ root.T
    spread = np.sqrt(rng.chisquare(freedom, DRAWS) / freedom)
    largest = ((noise @ blocks.T) / scale).max(axis=1) / spread
    return float(np.quantile(largest, 1 - ANYWHERE / 2))


def _ends(
    differences: Differences, known: npt.NDArray[np.bool_], margin: float
) -> tuple[bool, bool]:
    """Whether the advantage stands at the fewest and at the most labels."""
    mean = differences.mean[known] - margin
    covariance = differences.covariance[np.ix_(known, known)]
    ratio = mean / np.sqrt(np.diag(covariance))
    first, last = (bool(ratio[end] > differences.quantile(1 - AT_AN_END)) for end in (0, -1))
    if len(mean) < 3:
        return first, last
    where = np.log(differences.labels[known])
    design = np.stack([np.ones_like(where), where - where.mean()], axis=1)
    weigh = np.linalg.pinv(covariance)
    spread = np.linalg.pinv(design.T @ weigh @ design)
    slope = float((spread @ design.T @ weigh @ mean)[1]) / math.sqrt(float(spread[1, 1]))
    border = differences.quantile(1 - SLOPE)
    return first or bool(ratio[0] > 0 and slope < border), last or bool(
        ratio[-1] > 0 and slope > -border
    )


def _gap(differences: Differences, position: int, own: list[str], controls: list[str]) -> Gap:
    return Gap(
        labels=int(differences.labels[position]),
        mean=float(differences.mean[position]),
        interval=differences.interval(position),
        own=own[int(differences.own[position])],
        control=controls[int(differences.control[position])],
        seeds=int(differences.seeds[position]),
    )


def _worth(differences: Differences, known: npt.NDArray[np.bool_], margin: float) -> Worth | None:
    """Label-equivalence at the largest count that pays and that the control catches up with.

    Where it never catches up: at the smallest count that pays, as "more than"; not where that is
    the largest that was measured, which tells nothing.
    """
    low = [differences.interval(k).low > margin for k in range(len(known))]
    paying = [k for k in range(len(known)) if known[k] and low[k]]
    for position in reversed(paying):
        number = label_equivalence(differences, position)
        if math.isfinite(number.estimate) and number.estimate > differences.labels[position]:
            return Worth(int(differences.labels[position]), number)
    if not paying or paying[0] == len(known) - 1:
        return None
    number = label_equivalence(differences, paying[0])
    return (
        Worth(int(differences.labels[paying[0]]), number) if math.isinf(number.estimate) else None
    )


def _need(
    differences: Differences, known: npt.NDArray[np.bool_], margin: float, test_rows: int
) -> Need:
    """The cheapest thing that would settle the average difference over all label counts."""
    covariance = differences.covariance[np.ix_(known, known)]
    weights = 1 / np.sqrt(np.diag(covariance))
    weights /= weights.sum()
    value = float(weights @ differences.mean[known])
    standard_error = math.sqrt(float(weights @ covariance @ weights))
    seeds = int(differences.seeds[known].max())
    gap = max(abs(value - margin), SMALLEST_RESOLVED)
    test = float(weights @ differences.test_se[known])
    sd = math.sqrt(max(standard_error**2 - test**2, 0.0) * seeds)
    wanted = more_seeds(gap, sd, have=seeds)
    rows = more_test_rows(gap, test, have=test_rows)
    if test > 0.7 * standard_error and rows:
        return Need("test rows", rows, gap)
    return Need("seeds", max(1, min(wanted, MOST_SEEDS)), gap)

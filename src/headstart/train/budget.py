"""From a budget to a number of steps, decided once and recorded.

In: a budget in seconds, steps, tokens or epochs. Out: a `Plan` of whole numbers. A budget in time
is turned into steps by a short timed calibration *before* step 1, whose time counts as part of
the budget; the plan goes into the first checkpoint and into run.yaml (as `N steps`), so that
resuming and repeating do the same steps whatever the clock says. The price: a machine that becomes
slower after the calibration overruns the budget, one that becomes faster ends early. How much the
probes read follows from the steps alone, for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from headstart.budget import Budget, parse_budget
from headstart.errors import InputError

RESERVE = 0.03  # share of a time budget kept for checkpoints and the end of the run
# Of all tokens that are trained on, probes read at most this share. Reading a token takes at most
# the time of training on it, a third for texts; the rest is for the heads that a probe fits.
PROBE_SHARE = 0.04


@runtime_checkable
class CountsEpochs(Protocol):
    """A source that knows how many of its batches are one pass over the data."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of one epoch."""
        ...


@dataclass(frozen=True)
class Plan:
    """What a run does, in whole steps; fixed before step 1.

    total: optimiser steps of the whole run.
    save_every, probe_every: steps between scheduled checkpoints and between probes; 0 is never.
    probe_tokens: most tokens that one round of probes reads; 0: all that they have.
    """

    total: int
    save_every: int
    probe_every: int
    probe_tokens: int = 0


def read_budget(text: str) -> Budget:
    """Read a budget; raises InputError that says what is allowed."""
    try:
        return parse_budget(text)
    except ValueError as error:
        raise InputError(f"budget {text!r} {error}") from None


def counted_steps(
    budget: Budget, *, source: object, accumulate: int, tokens_per_batch: Sequence[int]
) -> int:
    """Steps of a budget that is not in time.

    tokens_per_batch: tokens of the first few batches, which stand for all of them.
    Raises InputError if epochs are asked of a source that does not know how long one is.
    """
    if budget.unit == "steps":
        return max(1, math.ceil(budget.amount))
    if budget.unit == "tokens":
        mean = max(1.0, sum(tokens_per_batch) / max(1, len(tokens_per_batch)))
        return max(1, math.ceil(budget.amount / (mean * accumulate)))
    assert budget.unit == "epochs", "a budget in seconds needs a calibration"
    if not isinstance(source, CountsEpochs):
        raise InputError(
            f"the budget '{budget}' is in epochs, but this source does not say how many batches "
            "one epoch has; give the budget in steps, tokens or time"
        )
    return max(1, math.ceil(budget.amount * source.batches_per_epoch / accumulate))


def timed_steps(seconds: float, *, step_s: float, spent_s: float, probing: bool) -> int:
    """Steps of `step_s` that fit into `seconds`, of which `spent_s` are gone already."""
    kept = RESERVE + (PROBE_SHARE if probing else 0.0)
    return max(1, math.floor(max(0.0, seconds * (1.0 - kept) - spent_s) / step_s))


def spread_plan(
    total: int,
    save_every: int,
    probe_every: int,
    probes: int,
    *,
    trained: float = 0.0,
    reads: int = 0,
) -> Plan:
    """A plan of `total` steps; intervals of 0 become a tenth of the run, or `probes` probes.

    trained: tokens of all steps. reads: tokens that one round of probes would read; 0 where it
    cannot read fewer. Where the share for probes is too small, they become fewer, down to one
    before the first step and one after the last, and then read less.
    """
    allowed = PROBE_SHARE * trained
    if not probe_every and probes:
        if reads:
            probes = max(1, min(probes, int(allowed / reads) - 1))
        probe_every = max(1, math.ceil(total / probes))
    tokens = 0
    if reads and probe_every:
        rounds = 1 + math.ceil(total / probe_every)
        tokens = max(1, min(reads, int(allowed / rounds)))
    return Plan(total, save_every or max(1, math.ceil(total / 10)), probe_every, tokens)


def forecast_s(step_seconds: Sequence[float], *, done: int, total: int) -> float:
    """Seconds still to go, from the measured times of some steps; 0 where none is known.

    The median is used, so that one step with a checkpoint or a page fault does not count.
    """
    if not step_seconds:
        return 0.0
    ordered = sorted(step_seconds)
    middle = len(ordered) // 2
    median = (ordered[middle] + ordered[-middle - 1]) / 2.0
    return median * max(0, total - done)

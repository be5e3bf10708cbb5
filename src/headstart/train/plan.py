"""How many steps a run takes, found out before its first step.

In: the settings, and the pieces of a run that is about to begin. Out: a `Plan`. A budget in time is
calibrated by computing a few gradients and one update, after which everything is as before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from headstart.train.budget import (
    Plan,
    Timing,
    counted_steps,
    read_budget,
    spread_plan,
    timed_plan,
)
from headstart.train.gradient import Gradients
from headstart.train.optim import Optimizer
from headstart.train.settings import TrainSettings

MOST, LEAST = 10, 3  # timed gradients of a calibration
SHARE = 0.02  # of a time budget that a calibration may use, after the least number of gradients


def make_plan(
    settings: TrainSettings,
    gradients: Gradients,
    optimizer: Optimizer,
    *,
    probing: bool,
    probe_s: float,
    spent_s: float,
    poll: Callable[[], None],
) -> Plan:
    """The plan of a run, counted from its beginning.

    probing: whether there are probes; probe_s: seconds that one round of them takes.
    spent_s: seconds of the budget that are gone already. Raises InputError for a budget that this
    source cannot count.
    """
    budget = read_budget(settings.budget)
    probes = settings.probes if probing else 0
    probe_every = settings.probe_every if probing else 0
    source = gradients.feeder.source
    if budget.unit == "seconds":
        start = time.perf_counter()
        step_s = calibrate(gradients, optimizer, budget_s=budget.amount, poll=poll)
        timing = Timing(step_s, probe_s, spent_s + time.perf_counter() - start)
        every = settings.save_every
        return timed_plan(
            budget.amount, timing, save_every=every, probe_every=probe_every, probes=probes
        )
    first = range(8) if budget.unit == "tokens" else range(0)
    tokens = [int(source.batch(n).lengths.sum()) for n in first]
    total = counted_steps(
        budget, source=source, accumulate=settings.accumulate, tokens_per_batch=tokens
    )
    return spread_plan(total, settings.save_every, probe_every, probes)


def calibrate(
    gradients: Gradients, optimizer: Optimizer, *, budget_s: float, poll: Callable[[], None]
) -> float:
    """Seconds of one step: the mean of some gradients after the first, and one update."""
    begin, times = time.perf_counter(), []
    for position in range(MOST + 1):
        start = time.perf_counter()
        measured = gradients.of(position, poll=poll)
        times.append(time.perf_counter() - start)
        if position >= LEAST and time.perf_counter() - begin > SHARE * budget_s:
            break
    step_s = sum(times[1:]) / len(times[1:])
    if measured.fault:
        return step_s
    before = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    start = time.perf_counter()
    optimizer.apply(0.0, scale=measured.scale)
    update_s = time.perf_counter() - start
    optimizer.load(before)
    return step_s + update_s

"""How many steps a run takes, found out before its first step.

In: the settings, and the pieces of a run that is about to begin. Out: a `Plan`. A budget in time is
calibrated by computing a few gradients and one update, after which everything is as before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from headstart.train.budget import Plan, counted_steps, read_budget, spread_plan, timed_steps
from headstart.train.feed import Feeder, micros_ahead
from headstart.train.gradient import Gradients
from headstart.train.groups import build_groups
from headstart.train.learner import Learner, Probe, Source, Trainable
from headstart.train.optim import Optimizer
from headstart.train.precision import choose_precision, computing, named_parameters
from headstart.train.settings import TrainSettings

MOST, LEAST = 10, 3  # timed gradients of a calibration
SLOW_ON_GPU = 8  # first gradients there: kernels are loaded and memory is asked for
MOST_READ = 8  # batches that stand for all in counting tokens
SHARE = 0.02  # of a time budget that a calibration may use, after the least number of gradients


@dataclass(frozen=True)
class StepTime:
    """What a calibration measured, in seconds: a mean gradient, and one update of the weights.

    tokens: mean of the gradients; count: how many gradients were timed.
    """

    gradient_s: float
    update_s: float
    tokens: float
    count: int

    def step_s(self, tokens: float) -> float:
        """Seconds of a step of so many tokens: gradients grow with them, updates do not."""
        return self.gradient_s * tokens / self.tokens + self.update_s


def make_plan(
    settings: TrainSettings,
    gradients: Gradients,
    optimizer: Optimizer,
    *,
    probes: Sequence[Probe],
    spent_s: float,
    poll: Callable[[], None],
) -> Plan:
    """The plan of a run, counted from its beginning.

    spent_s: seconds of the budget that are gone already. Raises InputError for a budget that this
    source cannot count.
    """
    budget = read_budget(settings.budget)
    reads = _reads(probes)
    source = gradients.feeder.source
    first = range(MOST_READ) if budget.unit == "tokens" or reads else range(0)
    tokens = [int(source.batch(n).lengths.sum()) for n in first]
    if budget.unit == "seconds":
        start = time.perf_counter()
        each = calibrate(gradients, optimizer, within_s=SHARE * budget.amount, poll=poll)
        spent_s += time.perf_counter() - start
        step_s = each.step_s(each.tokens)
        total = timed_steps(budget.amount, step_s=step_s, spent_s=spent_s, probing=bool(reads))
    else:
        total = counted_steps(
            budget, source=source, accumulate=settings.accumulate, tokens_per_batch=tokens
        )
    return spread_plan(
        total,
        settings.save_every,
        settings.probe_every if probes else 0,
        settings.probes if probes else 0,
        trained=total * settings.accumulate * sum(tokens) / max(1, len(tokens)),
        reads=reads,
    )


def sized(probes: Sequence[Probe], plan: Plan) -> tuple[Probe, ...]:
    """The probes that this plan pays for: smaller ones where they read too much."""
    reads = _reads(probes)
    if not plan.probe_tokens or plan.probe_tokens >= reads:
        return tuple(probes)
    part = plan.probe_tokens / reads
    return tuple(
        probe if probe.within is None else probe.within(int(part * probe.tokens))
        for probe in probes
    )


def _reads(probes: Sequence[Probe]) -> int:
    """Tokens of a round of those probes that can read fewer."""
    return sum(probe.tokens for probe in probes if probe.within is not None)


def calibrate(
    gradients: Gradients, optimizer: Optimizer, *, within_s: float, poll: Callable[[], None]
) -> StepTime:
    """The mean of some gradients after the first, and one update; the weights stay as they are.

    On a GPU the first are slow, and the data of the next were prepared while nothing computed: as
    many are left out. within_s: seconds after which no further gradient is begun, but there are
    three at least.
    """
    begin, times, tokens = time.perf_counter(), [], []
    ahead = gradients.feeder.ahead
    slow = 1 + (SLOW_ON_GPU + ahead if ahead else 0)
    for position in range(slow + MOST):
        start = time.perf_counter()
        measured = gradients.of(position, poll=poll)
        times.append(time.perf_counter() - start)
        tokens.append(measured.tokens)
        if position >= LEAST and time.perf_counter() - begin > within_s:
            break
    first = min(slow, len(times) - LEAST)
    count = len(times) - first
    gradient_s, mean = sum(times[first:]) / count, max(1.0, sum(tokens[first:]) / count)
    if measured.fault:
        return StepTime(gradient_s, 0.0, mean, count)
    before = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    start = time.perf_counter()
    optimizer.apply(0.0, scale=measured.scale)
    update_s = time.perf_counter() - start
    optimizer.load(before)
    return StepTime(gradient_s, update_s, mean, count)


def time_step(
    learner: Learner,
    objective: Trainable,
    source: Source,
    settings: TrainSettings,
    *,
    within_s: float,
) -> StepTime:
    """What a step of this run takes on this machine, without beginning the run."""
    precision = choose_precision(settings)
    learner.to(precision.device)
    groups = build_groups(named_parameters(learner), settings)
    optimizer = Optimizer(groups, settings, precision=precision)
    feeder = Feeder(
        source,
        objective,
        seed=settings.seed,
        accumulate=1,
        ahead=micros_ahead(precision),
        device=precision.device,
    )
    gradients = Gradients(learner, optimizer, feeder, device=precision.device)
    with closing(feeder), computing(precision):
        learner.train()
        return calibrate(gradients, optimizer, within_s=within_s, poll=lambda: None)

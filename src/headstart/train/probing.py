"""When probes are taken, which weights are the best by them, and when they end a run.

In: a learner and the run's state. Out: scores, and the state that knows of them. How large the
probes are is decided once, by the run's plan, so that all scores of a run can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from headstart.train.learner import Learner, Probe
from headstart.train.plan import sized
from headstart.train.settings import TrainSettings
from headstart.train.state import State


class Probing:
    """The probes of a run; the first decides what is best and when to stop."""

    def __init__(self, probes: Sequence[Probe], settings: TrainSettings):
        self.probes, self.settings = tuple(probes), settings
        self._sized: tuple[Probe, ...] = ()

    def due(self, state: State) -> bool:
        """Whether they are to be taken now."""
        every = state.plan.probe_every
        at = state.step == state.plan.total or (every > 0 and state.step % every == 0)
        return bool(self.probes) and at and state.probed_step != state.step

    def take(
        self, state: State, learner: Learner, poll: Callable[[], None]
    ) -> tuple[dict[str, float], bool]:
        """Scores by name, and whether these weights are the best so far."""
        if not self._sized:
            self._sized = sized(self.probes, state.plan)
        learner.eval()
        try:
            scores = {probe.name: float(probe.score(learner, poll)) for probe in self._sized}
        finally:
            learner.train()
        state.probed_step = state.step
        first = self.probes[0]
        best = _better(scores[first.name], state, first, self.settings.min_delta)
        if best:
            state.best_score, state.best_step, state.stale = scores[first.name], state.step, 0
        else:
            state.stale += 1
            if self.settings.patience and state.stale >= self.settings.patience:
                state.stopped = "converged"
        return scores, best


def _better(score: float, state: State, probe: Probe, min_delta: float) -> bool:
    if not math.isfinite(score):
        return False
    if state.best_score is None:
        return True
    gain = score - state.best_score
    return (gain if probe.higher_is_better else -gain) > min_delta

"""How large the learning rate is, as a function of the share of the budget used.

In: progress between 0 and 1. Out: a factor between the floor and 1 that multiplies every learning
rate. Warm-up, stable, decay (WSD): pure functions, no state, no step numbers, so the same settings
serve a budget in minutes and one in tokens. The surprise: the middle of a step counts, so neither
the first nor the last step has the factor 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from headstart.errors import InputError

Shape = Literal["linear", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then stable, then decay.

    warmup: share of the budget in which the factor rises in a straight line from 0 to 1.
    decay: share of the budget, at its end, in which the factor falls from 1 to `floor`. Warm-up
        and decay that add up to 1 leave no stable part, as in BERT.
    shape: the form of the fall.
    floor: the factor at the very end.

    Source: Hu et al. 2024 (MiniCPM), section 4 (WSD).
    """

    warmup: float = 0.06
    decay: float = 0.94
    shape: Shape = "linear"
    floor: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("warmup", self.warmup), ("decay", self.decay), ("floor", self.floor)):
            if not 0.0 <= value <= 1.0:
                raise InputError(f"{name} must be a share between 0 and 1, but is {value}")
        if self.warmup + self.decay > 1.0 + 1e-9:
            raise InputError(
                f"warmup {self.warmup} and decay {self.decay} together are more than the whole "
                f"run; set decay to at most {round(1.0 - self.warmup, 6)}"
            )
        if self.shape not in ("linear", "cosine"):
            raise InputError(f"shape must be linear or cosine, but is {self.shape!r}")

    def factor(self, progress: float) -> float:
        """The factor at this share of the budget, which is clamped to [0, 1]."""
        progress = min(max(progress, 0.0), 1.0)
        if progress < self.warmup:
            return progress / self.warmup
        left = 1.0 - progress
        if self.decay <= 0.0 or left >= self.decay:
            return 1.0
        share = left / self.decay
        if self.shape == "cosine":
            share = 0.5 - 0.5 * math.cos(math.pi * share)
        return self.floor + (1.0 - self.floor) * share


def step_progress(step: int, total: int) -> float:
    """The share of the budget used in the middle of step `step` (0, 1, ...) of `total`."""
    return (step + 0.5) / total

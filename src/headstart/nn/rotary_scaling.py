"""Rotary positions stretched beyond the length that a model was pretrained on.

A pair of numbers turns by `frequency * position`. Pairs that turn fast tell near tokens apart and
are left alone; pairs that turn slowly never met a whole turn and are slowed down further.

Legend: D width of a head, so D/2 pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headstart.errors import InputError

ScalingKind = Literal["linear", "llama3", "yarn"]


@dataclass(frozen=True, kw_only=True)
class RotaryScaling:
    """How frequencies are slowed down by `factor`.

    kind: "linear": all of them (Chen et al. 2023, arXiv:2306.15595). "llama3": those with less than
        `low` turns in `original` positions; those with more than `high` stay, those between are
        mixed by their turns (Grattafiori et al. 2024, arXiv:2407.21783, 3.2). "yarn": the same
        bounds (there beta slow and fast), mixed by the number of the pair; `whole_pairs`: whether
        bounds fall on whole pairs (Peng et al. 2023, arXiv:2309.00071, 3.2).
    attention: by which cosines and sines are multiplied, so that scores are by its square (yarn).
    """

    kind: ScalingKind
    factor: float
    original: int = 0
    low: float = 1.0
    high: float = 4.0
    whole_pairs: bool = True
    attention: float = 1.0

    def __post_init__(self) -> None:
        if self.kind != "linear" and self.high <= self.low:
            raise InputError(
                f"{self.kind} scaling of rotary positions leaves alone what turns more than "
                f"{self.high:g} times and slows down what turns less than {self.low:g} times: the "
                "first must be more than the second"
            )

    def slowed(self, frequencies: Tensor, *, theta: float) -> Tensor:
        """frequencies: (D/2,), one a pair, the fastest first. Returns what they become."""
        if self.kind == "linear":
            return frequencies / self.factor
        kept = self._kept_by_turns(frequencies) if self.kind == "llama3" else None
        if kept is None:
            kept = self._kept_by_pair(len(frequencies), theta=theta).to(frequencies)
        return frequencies * kept + frequencies / self.factor * (1 - kept)

    def _kept_by_turns(self, frequencies: Tensor) -> Tensor:
        """Which share of each frequency stays."""
        turns = self.original * frequencies / (2 * math.pi)
        return ((turns - self.low) / (self.high - self.low)).clamp(0, 1)

    def _kept_by_pair(self, pairs: int, *, theta: float) -> Tensor:
        first, last = (self._pair_with(turns, 2 * pairs, theta) for turns in (self.high, self.low))
        if self.whole_pairs:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, 2 * pairs - 1)
        width = last - first or 1e-3  # where both are the same pair, it is a step
        return 1 - ((torch.arange(pairs, dtype=torch.float32) - first) / width).clamp(0, 1)

    def _pair_with(self, turns: float, width: int, theta: float) -> float:
        """Number of the pair that turns so often in `original` positions."""
        return width * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(theta))

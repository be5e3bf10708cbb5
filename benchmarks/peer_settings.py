"""How transformers' Trainer is set in every benchmark that trains; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PeerSettings:
    """Settings of transformers' Trainer.

    grouped: texts of like length share a batch. steps: timed ones at least, after `warm` that are
    not timed (the first two are the longest and slowest).
    """

    batch: int
    steps: int
    warm: int = 2
    bf16: bool = False
    grouped: bool = False
    dropout: float = 0.1

    def timed_steps(self, texts: int) -> int:
        """Whole cycles of the length-grouping sampler.

        It draws so many batches at random and takes them from the longest texts to the shortest,
        so that only a whole cycle sees texts of every length.
        """
        cycle = min(texts // (4 * self.batch), 50)
        if not self.grouped or cycle < 1 or self.steps < cycle:
            return self.steps
        return -(-self.steps // cycle) * cycle


STRONGEST = PeerSettings(batch=64, steps=38, bf16=True, grouped=True, dropout=0.0)
STRONGEST_TITLE = (
    "transformers Trainer, strongest: bf16 autocast, grouped by length, 64 texts a step, "
    "no dropout, SDPA, fused AdamW"
)
DEFAULT = PeerSettings(batch=8, steps=48)
DEFAULT_TITLE = (
    "transformers Trainer, defaults: fp32, random order padded to the longest of 8 texts, "
    "dropout 0.1, fused AdamW"
)
SMALLEST = PeerSettings(batch=8, steps=1, warm=1)

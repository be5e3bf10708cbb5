"""The gradient of one step: every micro-batch forward and backward, added up.

In: a position of the data. Out: the optimiser's collected gradient, and what was measured on the
way. Nothing is updated here. Micro-batches are weighted by their number of targets, so that the
sum is the gradient of one large batch, whatever way it is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.train.feed import Feeder, Micro, reseed
from headstart.train.learner import Learner, LossLike
from headstart.train.optim import Optimizer


@dataclass(frozen=True)
class Measured:
    """What the gradient of one step looked like.

    loss, parts: means over all targets. norm: of the gradient, before clipping.
    scale: what the collected gradient must be multiplied by to be the mean's gradient.
    samples: numbers of the samples that took part.
    """

    loss: float
    parts: dict[str, float]
    count: int
    tokens: int
    sequences: int
    norm: float
    scale: float
    samples: list[int]

    @property
    def fault(self) -> str:
        """Why this gradient may not be used; empty if it may."""
        if self.count == 0:
            return "no targets"
        if not math.isfinite(self.loss):
            return f"loss is {self.loss}"
        if not math.isfinite(self.norm):
            return f"gradient norm is {self.norm}"
        return ""


class Gradients:
    """Computes gradients of a learner, and hands them to its optimiser."""

    def __init__(
        self, learner: Learner, optimizer: Optimizer, feeder: Feeder, *, device: torch.device
    ):
        self.learner, self.optimizer, self.feeder = learner, optimizer, feeder
        self.device = device

    def of(self, position: int, *, poll: Callable[[], None]) -> Measured:
        """The gradient of the micro-batches at a position; `poll` is called before each of them.

        If `poll` raises, the gradient is dropped.
        """
        done: list[_Piece] = []
        first = 0  # targets of the first micro-batch that has any: the unit of the weights
        try:
            for number, micro in enumerate(self.feeder.micros(position)):
                poll()
                reseed(self.feeder.seed, position, number)
                loss = self._loss(micro)
                if loss.count:
                    fresh = not first
                    first = first or loss.count
                    value = loss.value if fresh else loss.value * (loss.count / first)
                    value.backward()  # type: ignore[no-untyped-call]
                    self.optimizer.collect(first=fresh)
                parts = {name: part.detach() for name, part in loss.parts.items()}
                done.append(_Piece(micro, loss.value.detach(), loss.count, parts))
        except BaseException:
            self.optimizer.flat.drop_gradients()
            raise
        return self._measure(done, first)

    def _loss(self, micro: Micro) -> LossLike:
        batch = micro.batch if self.device.type == "cpu" else micro.batch.to(self.device)
        learner = self.learner
        return self.feeder.objective.loss(learner.model, learner.heads, batch)

    def _measure(self, done: list[_Piece], first: int) -> Measured:
        count = sum(piece.count for piece in done)
        scale = first / count if count else 1.0
        names = sorted({name for piece in done for name in piece.parts})
        return Measured(
            loss=_mean([(piece.loss, piece.count) for piece in done]),
            parts={
                name: _mean([(p.parts[name], p.count) for p in done if name in p.parts])
                for name in names
            },
            count=count,
            tokens=sum(piece.micro.tokens for piece in done),
            sequences=sum(len(piece.micro.index) for piece in done),
            norm=self.optimizer.norm() * scale if count else 0.0,
            scale=scale,
            samples=[int(number) for piece in done for number in piece.micro.index],
        )


@dataclass(frozen=True)
class _Piece:
    micro: Micro
    loss: Tensor
    count: int
    parts: dict[str, Tensor]


def _mean(values: list[tuple[Tensor, int]]) -> float:
    """The mean, weighted by counts; what has no targets does not count, even if it is NaN."""
    counted = [(value.float(), count) for value, count in values if count]
    total = sum(count for _, count in counted)
    if not total:
        return 0.0
    if len(counted) == 1:
        return float(counted[0][0])
    summed = torch.stack([value * count for value, count in counted]).sum()
    return float(summed) / total

"""What is trained, and the shapes of what the trainer is given: objective, source, probe.

In: a model and its heads. Out: one module whose parameters are trained and saved together. The
protocols here say all that the trainer knows of an objective; it never learns what one means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from headstart.batch import Batch, Sequences


class Learner(nn.Module):
    """A model and the heads of its tasks: what one run trains and a checkpoint holds."""

    def __init__(self, model: nn.Module, heads: nn.ModuleDict | None = None):
        super().__init__()
        self.model = model
        self.heads = nn.ModuleDict() if heads is None else heads


class Source(Protocol):
    """Where the sequences come from."""

    def batch(self, n: int) -> Sequences:
        """Batch number n: a pure function of n, for every n from 0 on."""
        ...


class LossLike(Protocol):
    """What an objective returns: a mean, over how many targets, and its named parts."""

    @property
    def value(self) -> Tensor:
        """The mean, a scalar."""
        ...

    @property
    def count(self) -> int:
        """Targets in the mean; 0 where there were none, and then the value does not matter."""
        ...

    @property
    def parts(self) -> dict[str, Tensor]:
        """Scalars by name, for the log."""
        ...


class Trainable(Protocol):
    """The part of an objective that the trainer uses."""

    @property
    def name(self) -> str:
        """The objective's name."""
        ...

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        """The tensors of one micro-batch: a pure function of the arguments.

        progress: share of the run that is done.
        """
        ...

    # An objective may ask for a narrower type of model than nn.Module; the trainer does not care.
    def loss(self, model: Any, heads: Any, batch: Batch) -> LossLike:  # noqa: ANN401
        """The loss of one micro-batch."""
        ...


@dataclass(frozen=True)
class Probe:
    """A score of the half-trained learner, taken every so many steps.

    score: gets the learner (in evaluation mode, weights in the compute format) and `poll`, which
        it calls between batches so that a signal is answered; it may not change the learner.
    higher_is_better: false for a loss.
    tokens: that one score reads. within: the same probe that reads about so many tokens at most;
        None where it always reads all.
    """

    name: str
    score: Callable[[Learner, Callable[[], None]], float]
    higher_is_better: bool = True
    tokens: int = 0
    within: Callable[[int], Probe] | None = None


@dataclass(frozen=True)
class StepRecord:
    """What one step did.

    step: steps done, this one included. total: steps of the run.
    loss: mean over the step's targets. parts: the same for the loss's named parts.
    count, tokens, sequences: targets, tokens and sequences of the step.
    grad_norm: length of the gradient before clipping. lr_factor: multiplies every learning rate.
    seconds: wall time of the step. left_s: forecast of the seconds still to go.
    skipped: why the step changed no weight; empty if it did.
    scores: results of the probes, if this step had any.
    """

    step: int
    total: int
    loss: float
    count: int
    tokens: int
    sequences: int
    grad_norm: float
    lr_factor: float
    seconds: float
    left_s: float
    skipped: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    reason: "budget" or "converged". step, total: steps done and planned.
    best_step, best_score: of the first probe; 0 and None without one.
    seconds, probe_s: training time and the probes' part of it, over all sessions.
    exact: false if the run was resumed although something decisive had changed.
    """

    reason: str
    step: int
    total: int
    best_step: int
    best_score: float | None
    seconds: float
    probe_s: float
    exact: bool

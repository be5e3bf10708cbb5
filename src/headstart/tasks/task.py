"""A task: an objective on labelled data that can also answer.

The trainer sees only its objective half; `evaluate` turns answers and gold labels into scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from headstart.batch import Batch, Layout, Sequences
from headstart.data.labels import Kind
from headstart.families.model import Model
from headstart.objectives.objective import Loss


class Frame(Protocol):
    """How inputs enter a model's stream: texts by an `objectives.Vocabulary`, images by a
    `data.patches.PixelFrame`.
    """

    def room(self, max_positions: int, max_length: int) -> int:
        """Most tokens of one window, what the frame itself adds not counted."""
        ...

    def lay_out(
        self, sequences: Sequences, *, pack: bool = True
    ) -> tuple[dict[str, Tensor], Layout]:
        """A batch's inputs and the layout of its stream; pack: windows may share a row."""
        ...


class Task(Protocol):
    """What a labelled task is, for the trainer and for whoever wants answers."""

    name: str
    needs: frozenset[str]  # arrangements of the model that can do it
    kind: Kind
    outputs: int

    def heads(self, model: Model, *, seed: int = 0) -> nn.ModuleDict:
        """Fresh heads."""
        ...

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        """The batch of these windows; their labels, where they have any, become targets."""
        ...

    def loss(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Loss:
        """Mean loss over the batch's examples."""
        ...

    def predict(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Tensor:
        """Raw scores (E, outputs) of the batch's examples, in the order of their numbers."""
        ...

    def answers(self, scores: np.ndarray) -> np.ndarray:
        """Labels from raw scores, in the form in which gold labels come."""
        ...

    def shares(self, scores: np.ndarray) -> np.ndarray | None:
        """Probabilities from raw scores; None for numbers."""
        ...

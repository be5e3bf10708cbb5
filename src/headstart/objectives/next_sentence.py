"""Next sentence prediction: whether the second segment follows the first or is from elsewhere.

Source: Devlin et al. 2019, section 3.1. Segments are the halves of a window, as in the original
code, which fills its length with as many sentences as fit. Half of the second ones are exchanged
between documents of the same batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Sequences
from headstart.families.heads import SequenceHead, make_head
from headstart.families.model import Model
from headstart.objectives.objective import Loss


@dataclass(eq=False)
class NextSentence:
    """Two classes from the first token: 0 follows, 1 does not (Hugging Face's order)."""

    weight: float = 1.0
    name: str = "nsp"
    needs: frozenset[str] = frozenset({"encoder"})
    views: int = 1
    pairs: bool = True

    def head(self, model: Model, seed: int) -> nn.Module:
        """The family's pooler and two outputs."""
        return make_head(model, "next_sentence", seed=seed)

    def mark(
        self, batch: Batch, sequences: Sequences, rng: np.random.Generator, progress: float
    ) -> None:
        """The segments were paired when the batch was laid out; only the label is left."""
        batch.targets[f"{self.name}.labels"] = 1 - batch.targets["pairs.follows"]

    def asked(self, batch: Batch) -> None:
        """All of the stream."""

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Cross-entropy over the sequences."""
        assert isinstance(head, SequenceHead)
        labels = batch.targets[f"{self.name}.labels"]
        scores = head(hidden, batch.layout["tokens"])
        return Loss(F.cross_entropy(scores.float(), labels), len(labels))

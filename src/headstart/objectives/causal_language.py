"""Causal language modelling: predict each next token from what came before.

Source: Radford et al. 2019. The hybrid shows an encoder some batches with a causal mask, so that
every token of them is a target: Charpentier and Samuel 2024, "GPT or BERT: why not both?". Their
masked tokens are predicted one place earlier; here at their own place, so that the saved masked
language head means what it does everywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from headstart.batch import Batch, Sequences
from headstart.families.heads import make_head
from headstart.families.model import Model
from headstart.nn.rows import filled
from headstart.objectives.masked_language import MaskedLanguage
from headstart.objectives.objective import Loss, Vocabulary
from headstart.objectives.table_loss import token_loss

CAUSAL = "causal"


@dataclass(eq=False)
class CausalLanguage:
    """Predict every next token of a sequence, never across sequences."""

    vocabulary: Vocabulary
    weight: float = 1.0
    name: str = "causal"
    needs: frozenset[str] = frozenset({"decoder"})
    views: int = 1
    pairs: bool = False

    def head(self, model: Model, seed: int) -> nn.Module:
        """The decoder; where it is the token table it has no weights of its own."""
        return make_head(model, "causal", seed=seed)

    def mark(
        self, batch: Batch, sequences: Sequences, rng: np.random.Generator, progress: float
    ) -> None:
        """Every token but the last of its sequence has a target."""
        mark_next(batch, sequences, self.name, self.vocabulary)

    def asked(self, batch: Batch) -> Tensor:
        """The tokens that another one follows, filled up to an even size."""
        return filled(batch.targets[f"{self.name}.slots"])

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Cross-entropy over all next tokens."""
        return token_loss(model, head, hidden, batch.targets[f"{self.name}.labels"])


@dataclass(eq=False)
class HybridLanguage:
    """One network and one head for both: a share of the batches is causal, the rest masked.

    masked: how the other batches are masked. causal_share: of the batches.
    """

    masked: MaskedLanguage
    causal_share: float = 0.5
    weight: float = 1.0
    name: str = "hybrid"
    needs: frozenset[str] = frozenset({"encoder"})
    views: int = 1
    pairs: bool = False

    def head(self, model: Model, seed: int) -> nn.Module:
        """The masked language head serves both."""
        return self.masked.head(model, seed)

    def mark(
        self, batch: Batch, sequences: Sequences, rng: np.random.Generator, progress: float
    ) -> None:
        """Draw which of the two this batch is, then mark it so."""
        if rng.random() < self.causal_share:
            batch.task = CAUSAL
            mark_next(batch, sequences, self.masked.name, self.masked.vocabulary)
        else:
            self.masked.mark(batch, sequences, rng, progress)

    def asked(self, batch: Batch) -> Tensor:
        """The tokens with targets, of which a causal batch has more."""
        return self.masked.asked(batch)

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """The same head and loss for both kinds of batch."""
        return self.masked.loss(model, head, hidden, batch)


def mark_next(batch: Batch, sequences: Sequences, name: str, vocabulary: Vocabulary) -> None:
    """Targets of causal prediction: slots whose successor is of the same sequence.

    A window that goes on in its document (field "next") is followed by the document's next token,
    not by the end of a text, which a model would else learn to expect after so many tokens.
    """
    layout, tokens = batch.layout["tokens"], batch.inputs["tokens"]
    sequence, follows = layout.sequence, tokens.roll(-1)
    if vocabulary.sep is not None and "next" in sequences.fields:
        after = torch.from_numpy(sequences.fields["next"])
        last = layout.first + layout.lengths - 2  # the place before the end's token
        follows[last[after >= 0]] = after[after >= 0]
    slots = torch.nonzero((sequence[:-1] == sequence[1:]) & (sequence[:-1] >= 0)).flatten()
    batch.targets[f"{name}.slots"] = slots
    batch.targets[f"{name}.labels"] = follows[slots]

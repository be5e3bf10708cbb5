"""Predict which words stand in the rest of the document from one window's vector.

A window's mean hidden state must say what the other windows of its document are about, and in what
tone: topic and sentiment, not the next word. This shapes sentence vectors within minutes, where
masked language modelling shapes token vectors within hours.

Sources: Le and Mikolov 2014 (PV-DBOW); Ma et al. 2024, "Drop your Decoder: Pre-training with
Bag-of-Word Prediction". Ours predicts the other windows only, so nothing can be copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from headstart.batch import Batch, Sequences
from headstart.families.model import Model
from headstart.families.pooler import pool
from headstart.nn.rows import filled
from headstart.objectives.objective import Loss
from headstart.objectives.table_loss import table_loss


@dataclass(eq=False)
class BagOfWords:
    """Cross-entropy against the weighted words of the document's other windows.

    importance: (V,) weight of each token, 0 for those that are never a target: inverse document
    frequency, see `data.latent.importance`. A token counts log(1 + times) * importance.
    Sequences need the field "document"; those without another window have no target.
    """

    importance: np.ndarray
    weight: float = 1.0
    name: str = "bow"
    needs: frozenset[str] = frozenset({"encoder", "decoder"})
    views: int = 1
    pairs: bool = False

    def head(self, model: Model, seed: int) -> nn.Module:
        """A linear layer over the vocabulary, started from the token table."""
        config = model.config
        table = nn.Linear(config.output_size, config.vocab_size)
        with torch.no_grad():  # once for each half of a reversible stream
            tokens = model.embed.tokens.weight
            table.weight.copy_(tokens.repeat(1, config.output_size // config.hidden_size))
            table.bias.zero_()
        return table.to(model.embed.tokens.weight.dtype)

    def mark(
        self, batch: Batch, sequences: Sequences, rng: np.random.Generator, progress: float
    ) -> None:
        """Rows (windows), columns (tokens) and shares of the targets."""
        rows, columns, shares = other_words(sequences, self.importance)
        batch.targets[f"{self.name}.windows"] = torch.from_numpy(np.unique(rows))
        order = np.unique(rows, return_inverse=True)[1]
        batch.targets[f"{self.name}.at"] = torch.from_numpy(np.stack([order, columns]))
        batch.targets[f"{self.name}.shares"] = torch.from_numpy(shares)

    def asked(self, batch: Batch) -> None:
        """All of the stream."""

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Mean over the windows that have targets."""
        assert isinstance(head, nn.Linear)
        windows = batch.targets[f"{self.name}.windows"]
        if not len(windows):
            return Loss(hidden.sum().float() * 0, 0)
        vectors = pool(hidden, batch.layout["tokens"], "mean").index_select(0, filled(windows))
        at, shares = batch.targets[f"{self.name}.at"], batch.targets[f"{self.name}.shares"]
        value = table_loss(vectors, head.weight, head.bias, at, shares, count=len(windows))
        return Loss(value, len(windows))


def other_words(
    sequences: Sequences, importance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each window's document says elsewhere: window, token and share, (M,) each.

    The shares of a window add up to 1. Windows whose document has no other window, or no weighted
    word in it, do not occur.
    """
    size = len(importance)
    count = len(sequences)
    window = np.repeat(np.arange(count), sequences.lengths)
    ones = np.ones(len(window), dtype=np.float32)
    here = sparse.csr_matrix((ones, (window, sequences.tokens)), shape=(count, size))
    document = np.unique(sequences.fields["document"], return_inverse=True)[1]
    member = sparse.csr_matrix((np.ones(count, np.float32), (document, np.arange(count))))
    rest = (member @ here)[document] - here
    rest.data = np.log1p(np.maximum(rest.data, 0)) * importance[rest.indices].astype(np.float32)
    rest.eliminate_zeros()
    total = np.asarray(rest.sum(1)).ravel()
    rest = rest.tocoo()
    shares = (rest.data / total[rest.row]).astype(np.float32)
    return rest.row.astype(np.int64), rest.col.astype(np.int64), shares

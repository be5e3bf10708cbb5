"""Contrast: the vectors of one text's two views are near, those of other texts far.

Sources: van den Oord et al. 2018 (the loss); Gao et al. 2021, "SimCSE" (dropout as the only
difference between views); Giorgi et al. 2021, "DeCLUTR" (spans of one document as views).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Sequences
from headstart.errors import InputError
from headstart.families.heads import pool
from headstart.families.model import Model
from headstart.objectives.objective import Loss


@dataclass(eq=False)
class Contrast:
    """InfoNCE over mean-pooled vectors, all other sequences of the batch as negatives.

    between: "dropout" shows every sequence twice, the network's dropout tells them apart;
    "spans" takes the windows of one document as views of it (field "document").
    temperature: divides the cosines.
    """

    between: Literal["dropout", "spans"] = "dropout"
    temperature: float = 0.05
    weight: float = 1.0
    name: str = "contrast"
    needs: frozenset[str] = frozenset({"encoder", "decoder"})
    views: int = 0  # set by `between`
    pairs: bool = False

    def __post_init__(self) -> None:
        self.views = 2 if self.between == "dropout" else 1

    def head(self, model: Model, seed: int) -> nn.Module:
        """No weights: the vectors themselves are what is wanted."""
        if self.between == "dropout" and not model.config.dropout:
            raise InputError(
                "contrast between dropout views needs dropout, but model.dropout is 0: "
                "set model.dropout=0.1, or take spans as views"
            )
        return nn.Identity()

    def mark(
        self, batch: Batch, sequences: Sequences, rng: np.random.Generator, progress: float
    ) -> None:
        """Which text each sequence is a view of."""
        by_document = self.between == "spans" and "document" in sequences.fields
        text = sequences.fields["document"] if by_document else sequences.index
        group = np.unique(text, return_inverse=True)[1]
        batch.targets[f"{self.name}.text"] = torch.from_numpy(group)

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Mean over the sequences that have another view in the batch."""
        text = batch.targets[f"{self.name}.text"]
        vectors = F.normalize(pool(hidden, batch.layout["tokens"], "mean").float(), dim=-1)
        itself = torch.eye(len(text), dtype=torch.bool, device=text.device)
        scores = (vectors @ vectors.t() / self.temperature).masked_fill(itself, float("-inf"))
        alike = (text[:, None] == text[None, :]) & ~itself
        has = alike.any(1)
        if not bool(has.any()):
            return Loss(hidden.sum().float() * 0, 0)
        chance = torch.log_softmax(scores[has], -1)
        each = chance.masked_fill(~alike[has], 0.0).sum(1) / alike[has].sum(1)
        return Loss(-each.mean(), int(has.sum()))

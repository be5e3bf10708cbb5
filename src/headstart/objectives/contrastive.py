"""Contrast: the vectors of two views of one text or image are near, those of others far.

Sources: van den Oord et al. 2018 (the loss); Gao et al. 2021, "SimCSE" (dropout as the only
difference between views); Giorgi et al. 2021, "DeCLUTR" (spans of one document as views); Chen et
al. 2020, "SimCLR" (augmented images as views, and vectors compared behind a projection).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Sequences
from headstart.data.image_batches import VIEWS
from headstart.data.patches import PixelFrame, lay_out_patches
from headstart.errors import InputError
from headstart.families.heads import ProjectionHead
from headstart.families.model import Model
from headstart.families.pooler import pool
from headstart.nn import initialise
from headstart.objectives.image_objective import Shown
from headstart.objectives.objective import Loss

TEXTS, IMAGES = frozenset({"encoder", "decoder"}), frozenset({"image encoder"})


@dataclass(eq=False)
class Contrast:
    """InfoNCE over mean-pooled vectors, all other sequences of the batch as negatives.

    between: "dropout" shows every sequence twice, the network's dropout tells them apart;
    "spans" takes the windows of one document as views of it (field "document"); "crops" takes the
    views that the source made of each image (field "views"), which other crops and colours tell
    apart. Vectors of images are compared behind a projection that is thrown away afterwards.
    temperature: divides the cosines.
    """

    between: Literal["dropout", "spans", "crops"] = "dropout"
    temperature: float = 0.05
    weight: float = 1.0
    name: str = "contrast"
    needs: frozenset[str] = TEXTS  # set by `between`, as is `views`
    views: int = 0
    pairs: bool = False

    def __post_init__(self) -> None:
        self.views = 2 if self.between == "dropout" else 1
        self.needs = IMAGES if self.between == "crops" else TEXTS

    def head(self, model: Model, seed: int, known: nn.Module | None = None) -> nn.Module:
        """A projection for images. None for texts: the vectors themselves are what is wanted."""
        if self.between == "crops":
            head = ProjectionHead(model.config)
            initialise(head, generator=torch.Generator().manual_seed(seed))
            return head.to(model.embed.tokens.weight.dtype)
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
        batch.targets[f"{self.name}.of"] = torch.from_numpy(group)

    def show(self, sequences: Sequences, frame: PixelFrame, rng: np.random.Generator) -> Shown:
        """All views of all images, those of one image side by side."""
        views = sequences.fields[VIEWS]  # S views 3 H W
        stream, layout = lay_out_patches(frame.cut(views.reshape(-1, *views.shape[2:])))
        image = np.arange(len(views)).repeat(views.shape[1])
        return Shown(stream, layout, {f"{self.name}.of": torch.from_numpy(image)})

    def asked(self, batch: Batch) -> None:
        """All of the stream."""

    def loss(self, model: Model, head: nn.Module, hidden: Tensor, batch: Batch) -> Loss:
        """Mean over the sequences that have another view in the batch."""
        of = batch.targets[f"{self.name}.of"]
        vectors = head(pool(hidden, batch.layout["tokens"], "mean"))
        vectors = F.normalize(vectors.float(), dim=-1)
        itself = torch.eye(len(of), dtype=torch.bool, device=of.device)
        scores = (vectors @ vectors.t() / self.temperature).masked_fill(itself, float("-inf"))
        alike = (of[:, None] == of[None, :]) & ~itself
        has = alike.any(1)
        if not bool(has.any()):
            return Loss(hidden.sum().float() * 0, 0)
        chance = torch.log_softmax(scores[has], -1)
        each = chance.masked_fill(~alike[has], 0.0).sum(1) / alike[has].sum(1)
        return Loss(-each.mean(), int(has.sum()))

"""One answer a text or image: a class, several labels, or a number.

A long text comes as several windows. Their scores are averaged, weighted by length, before the loss
is taken, and in the same way when answering: so cutting up long texts belongs to the model itself.

Legend: S windows, E examples of the batch, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Sequences
from headstart.data.labels import Kind
from headstart.families import blocks
from headstart.families.heads import SequenceHead, make_head, states_for
from headstart.families.model import Model
from headstart.families.style import HeadStyle
from headstart.nn import initialise
from headstart.objectives.objective import Loss
from headstart.tasks.task import Frame

HeadForm = Literal["mean", "family"]

MOST_WEIGHT = 20.0  # of a rare class against the mean


class Classify:
    """Classification, labelling or regression of texts or images through one linear map of pooled
    states.

    outputs: C. frame: how they enter the stream. weights: (C,) factor of each class's loss
    (classes), or of each label's positive side (multilabel). head: "mean" is mean pooling and a
    linear map, which a probe can initialise; "family" is what the family's stock models have.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        outputs: int,
        frame: Frame,
        weights: np.ndarray | None = None,
        head: HeadForm = "mean",
    ):
        self.kind, self.outputs, self.frame, self.head = kind, outputs, frame, head
        self.weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)
        self.name = f"classify.{kind}"
        self.needs = frozenset({"encoder", "decoder", "encoder-decoder", "image encoder"})

    def heads(
        self, model: Model, *, seed: int = 0, start: Mapping[str, nn.Module] | None = None
    ) -> nn.ModuleDict:
        """A fresh sequence head; `start`: heads of the checkpoint, for their pooler."""
        if self.head == "family":
            made = make_head(model, "sequence", outputs=self.outputs, start=start, seed=seed)
            assert isinstance(made, SequenceHead), "a sequence head was asked for"
            return nn.ModuleDict({"sequence": made})
        head = SequenceHead(model.config, mean_style(model), outputs=self.outputs)
        initialise(head, generator=torch.Generator().manual_seed(seed))
        return nn.ModuleDict({"sequence": head.to(model.embed.tokens.weight)})

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        """Windows packed into the stream; "owner" (S,) says whose each is.

        The random generator and progress are not used: nothing here is drawn.
        """
        return self.lay_out(sequences, pack=True)

    def lay_out(self, sequences: Sequences, *, pack: bool) -> Batch:
        """The batch of these windows; pack: several short ones may share a row."""
        inputs, layout = self.frame.lay_out(sequences, pack=pack)
        document = sequences.fields.get("document", np.arange(len(sequences)))
        numbers, first, owner = np.unique(document, return_index=True, return_inverse=True)
        targets = {
            "owner": torch.from_numpy(owner.astype(np.int64)),
            "documents": torch.from_numpy(numbers.astype(np.int64)),
        }
        if "labels" in sequences.fields:
            targets["labels"] = torch.from_numpy(sequences.fields["labels"][first])
        return Batch(inputs, {"tokens": layout}, targets, self.name)

    def predict(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Tensor:
        """Raw scores (E, C), averaged over the windows of each example; fp32."""
        layout = batch.layout["tokens"]
        head = heads["sequence"]
        scores = head(states_for(head, model, batch), layout)
        count = len(batch.targets["documents"])
        return average(scores, layout.lengths, batch.targets["owner"], count)

    def loss(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Loss:
        """Mean over examples of cross-entropy, of the labels' mean cross-entropy, or of error²."""
        scores, labels = self.predict(model, heads, batch), batch.targets["labels"]
        weights = None if self.weights is None else self.weights.to(scores.device)
        if self.kind == "classes":
            each = F.cross_entropy(scores, labels, reduction="none")
            value = (each if weights is None else each * weights[labels]).mean()
        elif self.kind == "multilabel":
            value = F.binary_cross_entropy_with_logits(scores, labels, pos_weight=weights)
        else:
            value = F.mse_loss(scores[:, 0], labels.float())
        return Loss(value, len(labels))

    def answers(self, scores: np.ndarray) -> np.ndarray:
        """Class numbers (E,), 0 and 1 (E, C), or numbers (E,), from raw scores (E, C)."""
        if self.kind == "number":
            return scores[:, 0]
        if self.kind == "multilabel":
            return (scores > 0).astype(np.int64)
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)

    def shares(self, scores: np.ndarray) -> np.ndarray | None:
        """Probabilities (E, C): over the classes, or of each label; None for numbers."""
        if self.kind == "number":
            return None
        raw = scores.astype(np.float64)
        if self.kind == "multilabel":
            return np.asarray(1 / (1 + np.exp(-np.clip(raw, -500, 500))))
        shares = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def average(values: Tensor, lengths: Tensor, owner: Tensor, count: int) -> Tensor:
    """Mean over the windows of each example, weighted by length; in fp32.

    values: (S, C); lengths, owner: (S,). Returns (count, C).
    """
    if len(values) == count:  # every example has one window
        empty = values.new_zeros(values.shape, dtype=torch.float32)
        return empty.index_copy(0, owner, values.float())
    weight = lengths.to(torch.float32)[:, None]
    total = weight.new_zeros(count, values.shape[1]).index_add(0, owner, values.float() * weight)
    return total / weight.new_zeros(count, 1).index_add(0, owner, weight)


def mean_style(model: Model) -> HeadStyle:
    """Mean pooling and a linear map; a norm between them where the family's head has one, and for
    images, whose stock classifier can then express it (`families.readout`).
    """
    norm = model.style.pool_norm or model.config.patches is not None
    return blocks.mean_style(model.style, norm=norm)


def balanced_weights(labels: np.ndarray, *, kind: Kind, outputs: int) -> np.ndarray | None:
    """(C,) weights by which all classes count the same in sum, capped; None for numbers.

    Classes: N / (C * n_c), so that the mean weight over the examples is 1 if nothing is capped.
    Several labels: rows without the label for each row with it.
    """
    if kind == "number":
        return None
    if kind == "multilabel":
        has = labels.sum(axis=0)
        ratio = (len(labels) - has) / np.maximum(has, 1)
        return np.asarray(np.clip(ratio, 1 / MOST_WEIGHT, MOST_WEIGHT))
    counts = np.bincount(labels, minlength=outputs)
    present = max(1, int((counts > 0).sum()))
    weights = len(labels) / (present * np.maximum(counts, 1))
    return np.asarray(np.minimum(np.where(counts > 0, weights, 1.0), MOST_WEIGHT))

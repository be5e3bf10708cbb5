"""Which caption belongs to which image: two towers learn to give both the same vector.

Softmax: each image chooses its caption among all of the batch, and each caption its image (CLIP).
Sigmoid: each pair of an image and a caption is judged on its own (SigLIP). Captions of the same
wording belong to each other's images. The batch may be larger than what fits the device: its
activations are then made chunk by chunk, kept as vectors only, and made again for the backward
pass, which gives the gradient of the whole batch (cached gradients).
Sources: Radford et al. 2021; Zhai et al. 2023; Gao et al. 2021, arXiv:2101.06983.

Legend: S pairs of a batch, C numbers of a shared vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from headstart.batch import Batch, Sequences
from headstart.data.caption_batches import TEXT
from headstart.data.image_batches import PIXELS
from headstart.data.pack import lay_out
from headstart.data.patches import PixelFrame, lay_out_patches
from headstart.families.heads import make_head
from headstart.families.model import Model
from headstart.families.pair_head import PairBias, PairHead
from headstart.families.pooler import pool
from headstart.objectives.objective import Loss, Vocabulary, refuse_arrangement

SIGMOID_SCALE, SIGMOID_BIAS = math.log(10.0), -10.0  # at the start (Zhai et al. 2023, 3.2)
BIAS = "image_text_bias"


@dataclass(eq=False)
class ImageText:
    """Bring images and their captions together.

    frame, vocabulary: how both enter the model. chunk: pairs whose activations are held at once;
    None: all of them. The loss is a mean over images and captions (softmax), or a sum over all
    pairs divided by S (sigmoid).
    """

    frame: PixelFrame
    vocabulary: Vocabulary
    kind: Literal["softmax", "sigmoid"] = "softmax"
    chunk: int | None = None
    name: str = "image_text"
    needs: frozenset[str] = frozenset({"two towers"})

    def refuse(self, model: Model) -> None:
        """Raise InputError if this model cannot do it."""
        refuse_arrangement(self.name, self.needs, model)

    def heads(
        self, model: Model, *, seed: int = 0, start: Mapping[str, nn.Module] | None = None
    ) -> nn.ModuleDict:
        """Fresh projections, or those of the checkpoint; for sigmoid a bias besides.

        start: a head "pair" of two towers, or poolers of towers of their own (`make_head`).
        """
        self.refuse(model)
        known = (start or {}).get("pair")
        head = known
        if not isinstance(head, PairHead):
            head = make_head(model, "pair", seed=seed, start=start)
        assert isinstance(head, PairHead), "a pair head"
        heads = nn.ModuleDict({self.name: head})
        if self.kind == "sigmoid":
            bias = model.style.pair_bias
            if bias is None and head is not known and head.scale is not None:
                nn.init.constant_(head.scale, SIGMOID_SCALE)
            heads[BIAS] = PairBias(SIGMOID_BIAS if bias is None else bias)
        return heads

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        """Streams "tokens.N" and "pixels.N" of chunk N: a pure function of the sequences."""
        inputs: dict[str, Tensor] = {}
        layouts = {}
        size = self.chunk or len(sequences)
        for number, begin in enumerate(range(0, len(sequences), size)):
            part = sequences.take(np.arange(begin, min(begin + size, len(sequences))))
            text, image = f"tokens.{number}", f"{PIXELS}.{number}"
            inputs[text], layouts[text] = lay_out(
                part,
                prefix=self.vocabulary.cls,
                suffix=self.vocabulary.sep,
                pad=self.vocabulary.pad,
            )
            inputs[image], layouts[image] = lay_out_patches(self.frame.patches(part))
        texts = torch.from_numpy(sequences.fields.get(TEXT, sequences.index))
        return Batch(inputs, layouts, {f"{self.name}.{TEXT}": texts}, self.name)

    def loss(self, model: Model, heads: Mapping[str, nn.Module], batch: Batch) -> Loss:
        """From the scores of all images with all captions of the batch."""
        head, text = heads[self.name], batch.targets[f"{self.name}.{TEXT}"]
        assert isinstance(head, PairHead), "the objective's head"
        texts, images = self.vectors(model, head, batch)
        scores = head.factor() * images @ texts.t()
        alike = text[:, None] == text[None, :]
        if self.kind == "softmax":
            value = softmax_loss(scores, alike)
        else:
            bias = heads[BIAS]
            assert isinstance(bias, PairBias), "the objective's bias"
            value = sigmoid_loss(scores + bias.value.to(scores.dtype), alike)
        return Loss(value, len(text))

    def vectors(self, model: Model, head: PairHead, batch: Batch) -> tuple[Tensor, Tensor]:
        """Unit vectors of texts and of images, (S, C) each."""
        number = _chunks(batch)
        again = number > 1 and torch.is_grad_enabled()
        found = []
        for one in range(number):
            part = _chunk(batch, one)
            if again:
                # it repeats dropout on the devices of the tensors that it finds in its arguments
                pair = checkpoint(_made, part.inputs, model, head, part, use_reentrant=False)
            else:
                pair = pair_vectors(model, head, part)
            found.append(pair)
        texts, images = zip(*found, strict=True)
        return torch.cat(texts), torch.cat(images)

    def states(self, model: Model, head: PairHead, batch: Batch) -> tuple[Tensor, Tensor]:
        """What texts and images are read from, (S, hidden) each, before any dense layer."""
        (_, of_texts), (_, of_images) = head.poolers()
        found = []
        for one in range(_chunks(batch)):
            part = _chunk(batch, one)
            texts = pool(model.encode(part), part.layout["tokens"], of_texts.pooling)
            images = pool(model.encode_images(part), part.layout[PIXELS], of_images.pooling)
            found.append((texts, images))
        texts_, images_ = zip(*found, strict=True)
        return torch.cat(texts_), torch.cat(images_)


def pair_vectors(model: Model, head: PairHead, batch: Batch) -> tuple[Tensor, Tensor]:
    """Unit vectors of the batch's "tokens" and "pixels", (S, C) each."""
    layouts = batch.layout
    texts = head.of_texts(lambda at: model.encode(batch, at=at), layouts["tokens"])
    return texts, head.of_images(lambda at: model.encode_images(batch, at=at), layouts[PIXELS])


def _made(
    inputs: dict[str, Tensor], model: Model, head: PairHead, batch: Batch
) -> tuple[Tensor, Tensor]:
    return pair_vectors(model, head, replace(batch, inputs=inputs))


def _chunks(batch: Batch) -> int:
    return sum(name.startswith(PIXELS) for name in batch.inputs)


def _chunk(batch: Batch, number: int) -> Batch:
    names = ("tokens", PIXELS)
    return Batch(
        {name: batch.inputs[f"{name}.{number}"] for name in names},
        {name: batch.layout[f"{name}.{number}"] for name in names},
        {},
        batch.task,
    )


def softmax_loss(scores: Tensor, alike: Tensor) -> Tensor:
    """Mean over images (rows) and texts (columns) of the cross-entropy with what belongs to each.

    scores, alike: (S, S); whether image and text belong together. Several that do share the target.
    """
    belongs = alike.to(scores.dtype)
    rows = -(torch.log_softmax(scores, 1) * belongs).sum(1) / belongs.sum(1)
    columns = -(torch.log_softmax(scores, 0) * belongs).sum(0) / belongs.sum(0)
    return (rows.mean() + columns.mean()) / 2


def sigmoid_loss(scores: Tensor, alike: Tensor) -> Tensor:
    """Sum over all pairs of the logistic loss of "belongs together", divided by S."""
    sign = torch.where(alike, 1.0, -1.0).to(scores.dtype)
    return -F.logsigmoid(sign * scores).sum() / len(scores)

"""A model that has learnt a labelled task: answers for texts or images, a folder to keep it in.

In: a body, a sequence head and what the labels are. Out: raw scores, the same in a report, in
`evaluate` and in `predict`: each text is cut into windows and its scores are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from torch import Tensor, nn

from headstart.batch import Batch, Sequences
from headstart.data.patches import PixelFrame, PixelScale
from headstart.data.text import demand_ids, framed
from headstart.errors import InputError
from headstart.evaluate.baselines import LinearHead
from headstart.evaluate.features import (
    TOKENS_PER_BATCH,
    FeatureCache,
    Precision,
    find_device,
    for_inference,
    read_out,
)
from headstart.families.heads import SequenceHead, states_for
from headstart.families.model import Model
from headstart.families.readout import Readout, load_readout, save_readout
from headstart.objectives.objective import Vocabulary
from headstart.tasks import Classify, Examples, Frame, Kind, stock_vocabulary
from headstart.tasks.examples import MAX_WINDOWS

ABSENT = -1e4  # raw score of a class that no label named

Setting = str | float | int | bool


@dataclass(frozen=True)
class Start:
    """What a transfer starts from.

    frame: how inputs enter the model. heads: of the checkpoint. pretrained: false for fresh
    weights. name: for people.
    """

    model: Model
    frame: Frame
    heads: Mapping[str, nn.Module] = field(default_factory=dict)
    pretrained: bool = True
    tokenizer: Tokenizer | None = None
    name: str = ""


@dataclass(frozen=True)
class Fitted:
    """A model with a sequence head that has learnt a task.

    kind, classes: what its scores mean. cost_s: wall time of learning. settings: what repeats it.
    method: what was trained. linear, cache: of a probe, whose scores need no new pass through the
    body for inputs that were read before.
    """

    model: Model
    head: SequenceHead | None
    kind: Kind
    classes: tuple[str, ...]
    frame: Frame
    method: str
    max_length: int
    max_windows: int = MAX_WINDOWS
    precision: Precision = "auto"
    cost_s: float = 0.0
    settings: Mapping[str, Setting] = field(default_factory=dict)
    linear: LinearHead | None = None
    cache: FeatureCache | None = None

    @property
    def outputs(self) -> int:
        """Scores of one text or image."""
        return 1 if self.kind == "number" else len(self.classes)

    @property
    def task(self) -> Classify:
        """The task, for turning scores into answers."""
        return Classify(self.kind, outputs=self.outputs, frame=self.frame)

    @cached_property
    def _body(self) -> Model:
        return for_inference(self.model, self.precision)

    def predict(
        self,
        inputs: Sequences,
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        poll: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Raw scores (N, C), fp32, of images or whole texts without special tokens, in order."""
        if not len(inputs):
            return np.zeros((0, self.outputs), dtype=np.float32)
        if self.linear is not None and self.cache is not None:
            weight, bias = affine(self.linear, outputs=self.outputs)
            return np.asarray(self.cache.of(inputs) @ weight.T + bias, dtype=np.float32)
        assert self.head is not None, "without a head there is a linear map"
        head = self.head

        def read(model: Model, batch: Batch) -> Tensor:
            scores: Tensor = head(states_for(head, model, batch).float(), batch.layout["tokens"])
            return scores

        window = self.frame.room(self.model.config.max_positions, self.max_length)
        return read_out(
            self._body,
            Examples(inputs, window=window, max_windows=self.max_windows),
            self.frame,
            read,
            tokens_per_batch=tokens_per_batch,
            poll=poll,
        )

    def answers(self, inputs: Sequences, *, poll: Callable[[], None] = lambda: None) -> np.ndarray:
        """Labels in the form in which gold labels come. poll: called between batches."""
        return self.task.answers(self.predict(inputs, poll=poll))

    def deployed(self) -> Fitted:
        """As it answers from its folder: in fp32, and by its own head if it has one."""
        if self.head is None:
            return replace(self, precision="fp32")
        return replace(self, precision="fp32", linear=None, cache=None)

    def save(self, folder: str | Path, *, tokenizer: Tokenizer | None, about: str = "") -> Path:
        """Write a Hugging Face folder; see `families.readout` for what opens it.

        The tokenizer is written so that it puts the special tokens around a text that the model
        learnt with. Raises InputError for a probe that reads several layers, which no folder can
        express.
        """
        if tokenizer is not None and isinstance(self.frame, Vocabulary):
            tokenizer = framed(tokenizer, self.frame.cls, self.frame.sep)
        readout = Readout(
            self.model,
            self.head,
            kind=self.kind,
            classes=self.classes,
            max_length=self.max_length,
            max_windows=self.max_windows,
            pixels=self.frame.scale if isinstance(self.frame, PixelFrame) else None,
        )
        return save_readout(readout, folder, tokenizer=tokenizer, about=about)


def load_fitted(
    folder: str | Path, tokenizer: Tokenizer | None, *, precision: Precision = "auto"
) -> Fitted:
    """A model with a sequence head from a folder: one that we wrote, or a stock one.

    tokenizer: None for a model of images.

    Raises InputError if there is no head that answers, CheckpointError for a damaged folder.
    """
    found = load_readout(folder)
    assert found.head is not None, "load_readout demands a head"
    patches = found.model.config.patches
    frame: Frame
    if patches is not None:
        scale = found.pixels or PixelScale()
        frame = PixelFrame(patches.image_size, patches.patch_size, scale)
    elif tokenizer is not None:
        demand_ids(tokenizer, folder, size=found.model.config.vocab_size)
        frame = stock_vocabulary(tokenizer)
    else:
        raise InputError(f"{folder} has no tokenizer.json, so its model cannot be given text")
    device = find_device("auto")
    return Fitted(
        model=found.model.to(device),
        head=found.head.to(device),
        kind=found.kind,
        classes=found.classes,
        frame=frame,
        method="loaded",
        max_length=found.max_length,
        max_windows=found.max_windows,
        precision=precision,
    )


def affine(linear: LinearHead, *, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """A linear head as one map of plain features: weight (outputs, F) and bias (outputs,), fp64.

    A class that the head never saw gets a score below all others.
    """
    weight = linear.weight / linear.scale
    bias = linear.bias - weight @ np.broadcast_to(linear.shift, weight.shape[1:])
    if linear.kind != "classes":
        return weight, bias
    full, offset = np.zeros((outputs, weight.shape[1])), np.full(outputs, ABSENT)
    places = linear.labels.astype(np.int64)
    full[places], offset[places] = weight, bias
    return full, offset

"""A predictor: a model that has learnt a task, loaded once, answering any number of times.

In: texts or images. Out: answers in their order. Inside, texts of like length share a batch within
a token budget, and long texts are cut into windows whose scores are averaged, as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from headstart.batch import Sequences
from headstart.data.image_batches import as_sequences
from headstart.data.inputs import texts_of
from headstart.data.patches import PixelFrame
from headstart.data.text import encode, load_tokenizer
from headstart.errors import InputError
from headstart.evaluate.features import TOKENS_PER_BATCH, Precision, demand_finite
from headstart.evaluate.fitted import Fitted, load_fitted
from headstart.families import resolve
from headstart.objectives import Vocabulary
from headstart.tasks import stand_in

AT_ONCE = 2000  # between two reports of progress


@dataclass(frozen=True)
class Answer:
    """What a model says of one text or image.

    label: the class, the labels joined by "|", or the number. share: probability of the class; of
    the least sure label; None for numbers.
    """

    label: str
    share: float | None


class Predictor:
    """Answers by one model. tokenizer: None for a model of images."""

    def __init__(self, fitted: Fitted, tokenizer: Tokenizer | None):
        self.fitted, self.tokenizer = fitted, tokenizer

    @classmethod
    def open(cls, start: str | Path, *, precision: Precision = "fp32") -> Predictor:
        """Load a run folder, a Hugging Face folder, or "hf:NAME".

        precision: fp32 gives what stock libraries give; "auto" is faster where bf16 is.
        Raises InputError if the model has learnt no task, CheckpointError if it is damaged.
        """
        return cls.at(resolve(start), precision=precision)

    @classmethod
    def at(cls, folder: Path, *, precision: Precision = "fp32") -> Predictor:
        """The same, from a model folder that `resolve` gave."""
        known = (folder / "tokenizer.json").exists()
        tokenizer = load_tokenizer(folder) if known else None
        return cls(load_fitted(folder, tokenizer, precision=precision), tokenizer)

    @property
    def classes(self) -> list[str]:
        """Names of the answers, none for numbers. Stock models without names count from 0."""
        names = list(self.fitted.classes)
        plain = [f"LABEL_{n}" for n in range(len(names))]
        return [str(n) for n in range(len(names))] if names == plain else names

    def scores(
        self,
        texts: Sequence[str],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> np.ndarray:
        """Raw scores (N, C) in the order of the texts. progress: called with texts done and all.

        Raises InputError for a text that is not valid Unicode.
        """
        frame = self.fitted.frame
        if self.tokenizer is None or not isinstance(frame, Vocabulary):
            raise InputError("this model reads images: give image files or folders, not texts")
        parts = [np.zeros((0, self.fitted.outputs), dtype=np.float32)]
        for begin in range(0, len(texts), AT_ONCE):
            piece = encode(self.tokenizer, texts[begin : begin + AT_ONCE], empty=stand_in(frame))
            parts.append(self._scores(piece, begin, tokens_per_batch))
            progress(min(len(texts), begin + AT_ONCE), len(texts))
        return np.concatenate(parts)

    def scores_of(
        self,
        pixels: np.ndarray,
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> np.ndarray:
        """Raw scores (N, C) of images (N, 3, side, side) uint8, in their order.

        Raises InputError if the model reads text.
        """
        frame = self.frame_of_images
        parts = [np.zeros((0, self.fitted.outputs), dtype=np.float32)]
        for begin in range(0, len(pixels), AT_ONCE):
            some = np.asarray(pixels[begin : begin + AT_ONCE])
            piece = as_sequences(some, np.arange(len(some)), tokens=frame.tokens)
            parts.append(self._scores(piece, begin, tokens_per_batch))
            progress(min(len(pixels), begin + AT_ONCE), len(pixels))
        return np.concatenate(parts)

    def _scores(self, inputs: Sequences, before: int, tokens_per_batch: int) -> np.ndarray:
        """Scores of some inputs, `before` of which came before. None is ever NaN."""
        scores = self.fitted.predict(inputs, tokens_per_batch=tokens_per_batch)
        return demand_finite(scores, before=before)

    @property
    def reads_images(self) -> bool:
        """Whether images go in, not texts."""
        return isinstance(self.fitted.frame, PixelFrame)

    @property
    def frame_of_images(self) -> PixelFrame:
        """How images enter the model. Raises InputError if it reads text."""
        if not isinstance(self.fitted.frame, PixelFrame):
            raise InputError("this model reads text: give texts, or files of texts, not images")
        return self.fitted.frame

    def predict(self, texts: Sequence[str]) -> list[Answer]:
        """One answer a text, in their order. Raises InputError if a text is no string."""
        return self.name(self.scores(texts_of(texts)))

    def name(self, scores: np.ndarray) -> list[Answer]:
        """Answers from raw scores (N, C)."""
        task, names = self.fitted.task, self.classes
        shares = task.shares(scores)
        if shares is None:
            return [Answer(f"{value:.6g}", None) for value in scores[:, 0].tolist()]
        if self.fitted.kind == "multilabel":
            return [_several(names, row) for row in shares]
        best = shares.argmax(axis=1).tolist()
        return [Answer(names[n], float(row[n])) for n, row in zip(best, shares, strict=True)]


def _several(names: Sequence[str], shares: np.ndarray) -> Answer:
    chosen = np.flatnonzero(shares > 0.5)
    sure = shares[chosen].min() if len(chosen) else 1 - shares.max()
    return Answer("|".join(names[n] for n in chosen.tolist()), float(sure))

"""An author: a model that has learnt to write texts, loaded once, writing any number of times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from headstart.data.inputs import texts_of
from headstart.data.text import encode, load_tokenizer
from headstart.evaluate.features import Precision
from headstart.evaluate.writing import Writing, open_writing
from headstart.families import resolve
from headstart.families.written import has_learnt_to_write
from headstart.generate import Decoding
from headstart.generate.defaults import decoding, read_defaults
from headstart.tasks import TextPairs


class Author:
    """Texts by one model. how: if not by the likeliest tokens."""

    def __init__(self, writing: Writing, tokenizer: Tokenizer, how: Decoding | None = None):
        self.writing, self.tokenizer, self.how = writing, tokenizer, how

    @classmethod
    def open(cls, start: str | Path, *, precision: Precision = "fp32") -> Author | None:
        """Load a run folder, a Hugging Face folder, or "hf:NAME"; None if it has not learnt to
        write.

        precision: fp32 writes what stock libraries write; "auto" is faster where bf16 is. How a
        text goes on (greedily, by beams, ...) is read from the folder's generation_config.json.
        Raises CheckpointError if it is damaged.
        """
        return cls.at(resolve(start), precision=precision)

    @classmethod
    def at(cls, folder: Path, *, precision: Precision = "fp32") -> Author | None:
        """The same, from a model folder that `resolve` gave."""
        if not has_learnt_to_write(folder):
            return None
        tokenizer = load_tokenizer(folder)
        writing = open_writing(folder, tokenizer, precision=precision)
        two = writing.model.decoder is not None
        found = read_defaults(folder, two=two, end=writing.task.end)
        return cls(writing, tokenizer, decoding(found.choices, {}))

    def write(
        self,
        sources: Sequence[str],
        how: Decoding | None = None,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[str]:
        """A text after each source, in their order. how: instead of the author's own way.

        Raises InputError if a source is no text, or no valid Unicode.
        """
        texts = texts_of(sources)
        if not texts:
            return []
        found = self.writing.write(
            encode(self.tokenizer, texts), how or self.how, progress=progress
        )
        return spelled(self.tokenizer, found)

    def too_long(self, sources: Sequence[str]) -> np.ndarray:
        """(N,) tokens of each source that is longer than what is read of it, and 0 of others."""
        lengths = encode(self.tokenizer, sources).lengths
        return np.where(lengths > self.writing.room.source, lengths, 0)

    def pairs(self, sources: Sequence[str], targets: Sequence[str]) -> TextPairs:
        """Texts as tokens."""
        return TextPairs(encode(self.tokenizer, sources), encode(self.tokenizer, targets))

    def losses(
        self, sources: Sequence[str], targets: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Writing.losses`."""
        return self.writing.losses(self.pairs(sources, targets))


def spelled(tokenizer: Tokenizer, texts: Sequence[Sequence[int]]) -> list[str]:
    """Tokens as texts, without special tokens and without blanks around them."""
    return [text.strip() for text in tokenizer.decode_batch(texts, skip_special_tokens=True)]

"""An encoder: a pretrained model, loaded once, that turns texts into vectors.

In: texts. Out: one vector of length 1 a text, as sentence-transformers gives them for the same
folder. A text longer than the model's window becomes several windows whose vectors are averaged, so
that its end counts too; `cut` lets it end at the window instead, as sentence-transformers does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from torch import Tensor

from headstart.batch import Batch
from headstart.data.inputs import texts_of
from headstart.data.text import demand_ids, encode, load_tokenizer
from headstart.evaluate.features import (
    TOKENS_PER_BATCH,
    Precision,
    demand_finite,
    for_inference,
    read_out,
)
from headstart.evaluate.towers import refuse_towers
from headstart.families import load_model, pool, resolve
from headstart.families.model import Model
from headstart.families.readout import HEAD
from headstart.families.sentence import SentenceStyle, read_sentence_style
from headstart.tasks import Examples, stand_in, stock_vocabulary


class Encoder:
    """Vectors of texts by one model."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, style: SentenceStyle, *, cut: bool = False
    ):
        """model: as `for_inference` gives it. cut: whether long texts end at the window."""
        self.cut = cut
        self.model, self.tokenizer, self.style = model, copy.deepcopy(tokenizer), style
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self._vocabulary = stock_vocabulary(self.tokenizer)
        self._window = self._vocabulary.room(model.config.max_positions, style.max_length)

    @classmethod
    def open(
        cls, start: str | Path, *, precision: Precision = "auto", cut: bool = False
    ) -> Encoder:
        """Load a run folder, a Hugging Face folder, or "hf:NAME".

        precision: "auto" computes in bf16 where the processor has it (cosine to fp32 of 0.9999 for
        sentences, 0.9998 for a word); "fp32" gives what stock libraries give. cut: whether long
        texts end at the window.
        Raises CheckpointError for a damaged folder.
        """
        folder = resolve(start)
        model = load_model(folder).model
        refuse_towers(model, start)
        style = read_sentence_style(folder, model, head=(folder / HEAD).is_file())
        tokenizer = demand_ids(load_tokenizer(folder), folder, size=model.config.vocab_size)
        ready = for_inference(model, precision, device="auto")
        return cls(ready, tokenizer, style, cut=cut)

    def encode(
        self,
        texts: Sequence[str],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        poll: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """(N, hidden) fp32 vectors of length 1, in the order of the texts.

        poll: called between batches. Raises InputError for what is no text, or no valid Unicode.
        """
        texts = texts_of(texts)
        if not texts:
            return np.zeros((0, self.model.config.output_size), dtype=np.float32)
        if self.style.lowercase:
            texts = [text.lower() for text in texts]
        tokens = encode(
            self.tokenizer,
            texts,
            max_length=self._window if self.cut else None,
            empty=stand_in(self._vocabulary),
        )
        examples = Examples(tokens, window=self._window)
        found = read_out(
            self.model,
            examples,
            self._vocabulary,
            self._pooled,
            tokens_per_batch=tokens_per_batch,
            poll=poll,
        )
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(demand_finite(found) / np.maximum(length, 1e-12))

    def _pooled(self, model: Model, batch: Batch) -> Tensor:
        states = model.encode(batch).float()
        return pool(states, batch.layout["tokens"], self.style.pooling)

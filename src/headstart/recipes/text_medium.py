"""Labelled texts: tables of them, tokenizers, and fresh models that read or write."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from headstart.abilities import ARRANGEMENTS
from headstart.batch import Sequences
from headstart.config import Family, LabelSettings, ModelSettings, TextSettings
from headstart.data.corpus import Corpus, column_of_all
from headstart.data.dataset import Labelled, load_labelled
from headstart.data.image_kind import Reads
from headstart.data.leaks import find_leaks
from headstart.data.text import demand_ids, encode, load_tokenizer, train_tokenizer
from headstart.errors import InputError
from headstart.evaluate.towers import refuse_towers
from headstart.evaluate.transfer import Start
from headstart.families import Loaded, find
from headstart.recipes.building import fresh_model
from headstart.recipes.medium import Rows
from headstart.tasks import vocabulary_of
from headstart.words import Phrase, say

WRITING_FAMILY: Family = "t5"


@dataclass(frozen=True)
class TextMedium:
    """Tables of texts. written: whether labels may be texts that are to be written."""

    name: str
    loaded: Loaded | None
    settings: TextSettings
    model: ModelSettings
    seed: int
    reads: Reads = "text"
    written: bool = False

    def read(self, path: str | Path, *, like: Rows | None = None) -> Rows:
        """See `load_labelled`; rows that cannot be read are set aside."""
        chosen, kind = self.settings, self.settings.kind
        text, label, classes = chosen.text, chosen.label, None
        if isinstance(like, Labelled):
            text, label = like.text_column, like.label_column
            kind, classes = like.kind, like.classes or None
        return load_labelled(
            path,
            text=text,
            label=label,
            kind=kind,
            classes=classes,
            encoding=chosen.encoding,
            bad_rows="skip",
            written=self.written,
        )

    def start(self, learn: Rows) -> Start:
        """The folder's model, or fresh weights with a tokenizer trained on the texts."""
        if self.loaded is not None:
            return text_start(self.loaded, self.name)
        if learn.kind == "text":
            return self._writing_start(learn)
        tokenizer = train_tokenizer(
            _texts(learn).texts,
            kind=self.settings.tokenizer,
            vocab_size=self.settings.vocab_size,
            lowercase=self.settings.lowercase,
            style=find(self.model.family).special_tokens,
        )
        vocabulary = vocabulary_of(tokenizer)
        model = fresh_model(
            self.model,
            vocab_size=vocabulary.size,
            max_length=self.settings.max_length,
            seed=self.seed,
        )
        return Start(model, vocabulary, pretrained=False, tokenizer=tokenizer, name=self.name)

    def _writing_start(self, learn: Rows) -> Start:
        """Fresh weights that can write, and a tokenizer that can spell every text."""
        chosen, shape = self.settings, writing_model(self.model)
        assert isinstance(chosen, LabelSettings), "settings of a task whose labels may be texts"
        given = chosen.model_fields_set
        if "tokenizer" not in given:
            chosen = chosen.model_copy(update={"tokenizer": "bpe"})
        if "lowercase" not in given:
            chosen = chosen.model_copy(update={"lowercase": False})
        tokenizer = train_tokenizer(
            [*_texts(learn).texts, *learn.labels],
            kind=chosen.tokenizer,
            vocab_size=chosen.vocab_size,
            lowercase=chosen.lowercase,
            style=find(shape.family).special_tokens,
        )
        vocabulary = vocabulary_of(tokenizer)
        both = ARRANGEMENTS.get(shape.family) == ("encoder-decoder",)
        model = fresh_model(
            shape,
            vocab_size=vocabulary.size,
            max_length=(max if both else sum)((chosen.max_length, chosen.target_length)),
            seed=self.seed,
            causal=None if both else True,
        )
        return Start(model, vocabulary, pretrained=False, tokenizer=tokenizer, name=self.name)

    def encode(self, rows: Rows, start: Start) -> Sequences:
        """Tokens of whole texts."""
        assert start.tokenizer is not None, "a start of texts has a tokenizer"
        return encode(start.tokenizer, _texts(rows).texts)

    def unlabelled(
        self, paths: Sequence[str], apart: Sequence[Rows], *, most: int, place: Path
    ) -> tuple[Rows, int]:
        """Read from the files, never held whole."""
        encoding = self.settings.encoding
        column = column_of_all(paths, self.settings.text, encoding=encoding)
        corpus = Corpus(paths, text=column, encoding=encoding, bad_rows="skip")
        leaks = find_leaks(corpus, test=[text for part in apart for text in _texts(part).texts])
        pool = pool_of_texts(corpus.without(leaks.drop), str(paths[0]), most=most)
        return pool, len(leaks.drop)

    def repeated(self, learn: Rows, test: Rows) -> tuple[np.ndarray, str]:
        """See `find_leaks`."""
        found = find_leaks(test=_texts(test).texts, train=_texts(learn).texts)
        return np.asarray(sorted(found.train_drop), dtype=np.int64), str(found)

    def described(self, learn: Rows, classes: str) -> Phrase:
        """With the columns' names."""
        mine = _texts(learn)
        return say(
            "plan_labels",
            rows=len(mine),
            text=mine.text_column,
            label=mine.label_column,
            classes=classes,
        )

    def digest(self, rows: Rows) -> str:
        """Of texts and labels."""
        sha = hashlib.sha256(b"" if rows.kind == "text" else rows.labels.tobytes())
        for text in (*_texts(rows).texts, *(rows.labels if rows.kind == "text" else ())):
            sha.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return sha.hexdigest()


def pool_of_texts(corpus: Corpus, source: str, *, most: int) -> Labelled:
    """The first texts of a corpus as rows that have no labels yet."""
    texts = list(islice(corpus.texts(), most))
    nothing = np.zeros(len(texts), dtype=np.int64)
    return Labelled(texts, nothing, "classes", [], "", "", source, nothing)


def text_start(loaded: Loaded, name: str) -> Start:
    """A start from a folder of a model that reads text."""
    refuse_towers(loaded.model, name)
    tokenizer = tokenizer_of(loaded, name)
    vocabulary = vocabulary_of(tokenizer)
    return Start(loaded.model, vocabulary, loaded.heads, tokenizer=tokenizer, name=name)


def tokenizer_of(start: Loaded, name: str) -> Tokenizer:
    """The tokenizer of a checkpoint. Raises InputError if it has none."""
    if start.tokenizer is None:
        raise InputError(f"{name} has no tokenizer.json, so its model cannot be given text")
    folder = start.tokenizer.parent
    return demand_ids(load_tokenizer(folder), folder, size=start.model.config.vocab_size)


def writing_model(model: ModelSettings) -> ModelSettings:
    """The settings with a family that writes where none was given."""
    if "family" in model.model_fields_set:
        return model
    return model.model_copy(update={"family": WRITING_FAMILY})


def _texts(rows: Rows) -> Labelled:
    assert isinstance(rows, Labelled), "rows of a medium of texts"
    return rows

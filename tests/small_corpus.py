"""Texts of a few English and Chinese words in any order, and settings of a network for them."""

from pathlib import Path

import numpy as np

TEXT = "the bank card was lost in town and my money is gone please help me 卡 丢 了 请 帮 忙"
WORDS = TEXT.split()
SETTINGS = {
    "model.num_layers": 2,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "data.vocab_size": 300,
    "machine.threads": 1,
    "machine.precision": "fp32",
}


def write_corpus(folder: Path, *, words: int) -> Path:
    """Six files of so many words each, in a new folder below this one."""
    rng = np.random.default_rng(0)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number in range(6):
        text = " ".join(rng.choice(WORDS, words))
        (corpus / f"{number}.txt").write_text(text, encoding="utf-8")
    return corpus

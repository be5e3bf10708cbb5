"""Sixteen pairs of texts, tokenizers that spell them, and tiny models that can write."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer

from headstart.data.text import encode, train_tokenizer
from headstart.evaluate.fitted import Start
from headstart.evaluate.transfer_settings import TransferSettings
from headstart.families import find
from headstart.families.written import Habits
from headstart.tasks import TextPairs, vocabulary_of

NAMES = ("card", "bank", "town", "money")
VERBS = ("lost", "found", "wanted", "sold")
SOURCES = [f"The {n} was {v}. Thanks!" for n in NAMES for v in VERBS]
TARGETS = [f"Re: {n.title()} ({v})" for n in NAMES for v in VERBS]
HABITS = Habits(words=3, frequent=TARGETS[0])
SETTINGS = TransferSettings(
    precision="fp32",
    device="cpu",
    threads=1,
    max_length=64,
    target_length=24,
    min_steps=120,
    epochs=1,
    lr=5e-3,
    tokens_per_batch=2048,
    layer_decay=1.0,
    dropout=0.0,
)


def spelling(family: str) -> Tokenizer:
    return train_tokenizer(
        [*SOURCES, *TARGETS],
        kind="bpe",
        vocab_size=400,
        lowercase=False,
        style=find(family).special_tokens,
    )


def writing_start(family: str, *, seed: int = 0) -> Start:
    tokenizer = spelling(family)
    model = find(family).build(
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        vocab_size=tokenizer.get_vocab_size(),
        max_positions=96,
        seed=seed,
    )
    with torch.no_grad():  # the usual noise of 0.02 is too little for so narrow a model
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(5)
    return Start(model.eval(), vocabulary_of(tokenizer), tokenizer=tokenizer)


def text_pairs(tokenizer: Tokenizer, sources=SOURCES, targets=TARGETS) -> TextPairs:
    return TextPairs(encode(tokenizer, sources), encode(tokenizer, targets))

"""A tiny learner, objective and source: next-token prediction on a fixed random sequence."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.batch import Batch, Layout, Sequences
from headstart.train import Learner, TrainSettings

VOCAB = 16


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        return x + F.dropout(self.out(torch.tanh(q) * k + v), 0.1, self.training)


class Body(nn.Module):
    def __init__(self, width: int = 24, depth: int = 2):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.unused = nn.Linear(width, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return x


@dataclass
class ToyLoss:
    value: Tensor
    count: int
    parts: dict[str, Tensor] = field(default_factory=dict)


class NextToken:
    """Masks some inputs at random and predicts every next token."""

    name = "next token"

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        tokens = torch.from_numpy(sequences.tokens.astype(np.int64))
        hidden = torch.from_numpy(rng.random(len(tokens)) < 0.1)
        count = len(tokens)
        layout = Layout(
            torch.from_numpy(sequences.lengths),
            torch.arange(count),
            torch.zeros(count, dtype=torch.int64),
            torch.zeros(1, dtype=torch.int64),
            ((1, count),),
            packed=True,
        )
        inputs = {"tokens": tokens.masked_fill(hidden, 0)}
        return Batch(inputs, {"tokens": layout}, {"labels": tokens.roll(-1)}, self.name)

    def loss(self, model: nn.Module, heads: nn.ModuleDict, batch: Batch) -> ToyLoss:
        logits = heads["next"](model(batch.inputs["tokens"])).float()
        labels = batch.targets["labels"]
        return ToyLoss(F.cross_entropy(logits, labels), len(labels), {"twice": 2 * logits.mean()})


class Sequence:
    """Batch n: a few short runs of tokens that follow a rule, drawn from (seed, n)."""

    batches_per_epoch = 7

    def __init__(self, seed: int = 0, *, sequences: int = 4, poison: frozenset[int] = frozenset()):
        self.seed, self.sequences, self.poison = seed, sequences, poison

    def batch(self, n: int) -> Sequences:
        rng = np.random.default_rng([self.seed, n])
        lengths = rng.integers(3, 9, self.sequences)
        runs = [[int(first)] for first in rng.integers(0, VOCAB, self.sequences)]
        for run, length in zip(runs, lengths, strict=True):
            while len(run) < length:
                run.append((run[-1] * 3 + 1) % VOCAB)
        tokens = np.concatenate([np.array(run) for run in runs])
        index = np.arange(self.sequences) + n * self.sequences
        if n in self.poison:
            tokens = np.full_like(tokens, VOCAB - 1)
        return Sequences(tokens, lengths, index, {"bad": np.full(len(lengths), n in self.poison)})


def make_learner(seed: int = 0, *, width: int = 24) -> Learner:
    torch.manual_seed(seed)
    return Learner(Body(width), nn.ModuleDict({"next": nn.Linear(width, VOCAB)}))


def settings(**changes: object) -> TrainSettings:
    base: dict[str, object] = {
        "budget": "12 steps",
        "lr": 1e-2,
        "precision": "fp32",
        "device": "cpu",
        "threads": 1,
        "save_every": 4,
        "save_minutes": 0.0,
    }
    return TrainSettings(**(base | changes))  # type: ignore[arg-type]

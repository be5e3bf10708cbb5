"""Helpers of the parity tests: the same ragged texts given to a stock model and to ours."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from torch import Tensor

from headstart.batch import Batch, Layout, Sequences, ragged_index
from headstart.families import Loaded

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

LENGTHS = (7, 3, 12, 1, 5)
VOCAB = 60


def ragged(lengths=LENGTHS, *, vocab: int = VOCAB, seed: int = 0) -> Sequences:
    """Random ids from 5 on, so that no id is a special one."""
    rng = np.random.default_rng(seed)
    count = np.asarray(lengths)
    return Sequences(rng.integers(5, vocab, count.sum()), count, np.arange(len(count)))


def lay(sequences: Sequences, *, rows: list[list[int]], pad: int = 0) -> Batch:
    """Sequences in rows as told; every row is as wide as the widest."""
    width = max(int(sequences.lengths[row].sum()) for row in rows)
    size = width * len(rows)
    tokens, positions = np.full(size, pad), np.zeros(size, dtype=np.int64)
    owner, first = np.full(size, -1), np.zeros(len(sequences), dtype=np.int64)
    for number, row in enumerate(rows):
        at = number * width
        for which in row:
            length = int(sequences.lengths[which])
            start = int(sequences.starts[which])
            tokens[at : at + length] = sequences.tokens[start : start + length]
            positions[at : at + length] = np.arange(length)
            owner[at : at + length] = which
            first[which] = at
            at += length
    parts = (torch.from_numpy(np.asarray(a)) for a in (sequences.lengths, positions, owner, first))
    packed = any(len(row) > 1 for row in rows)
    layout = Layout(*parts, rows=((len(rows), width),), packed=packed)
    return Batch({"tokens": torch.from_numpy(tokens)}, {"tokens": layout}, {})


def padded(sequences: Sequences, *, pad: int = 0) -> Batch:
    """One sequence a row."""
    return lay(sequences, rows=[[n] for n in range(len(sequences))], pad=pad)


def packed(sequences: Sequences, *, pad: int = 0) -> Batch:
    """Two rows: the even sequences in one, the odd ones in the other."""
    numbers = list(range(len(sequences)))
    return lay(sequences, rows=[numbers[::2], numbers[1::2]], pad=pad)


def in_order(states: Tensor, batch: Batch) -> Tensor:
    """Rows of a stream in the order of the sequences' tokens, padding left out."""
    layout = batch.layout["tokens"]
    return states[ragged_index(layout.first.numpy(), layout.lengths.numpy())]


def stock_inputs(sequences: Sequences, *, pad: int = 0) -> dict[str, Tensor]:
    """What a stock model takes: right-padded ids and their attention mask."""
    batch = padded(sequences, pad=pad)
    shape = batch.layout["tokens"].rows[0]
    return {
        "input_ids": batch.inputs["tokens"].view(shape),
        "attention_mask": (batch.layout["tokens"].sequence >= 0).long().view(shape),
    }


def stock_flat(states: Tensor, sequences: Sequences) -> Tensor:
    """A stock model's (batch, length, ...) as the tokens of the sequences in order."""
    return torch.cat([states[n, :length] for n, length in enumerate(sequences.lengths)])


def randomise(model: torch.nn.Module, *, seed: int = 0) -> torch.nn.Module:
    """Weights large enough that every part shows in the output, norms and biases included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator) * 0.2
            weight.copy_(noise + (1.0 if "norm" in name.lower() and "weight" in name else 0.0))
    return model.eval()


def save_stock(
    model: transformers.PreTrainedModel, folder: Path, *, shard: str = "1GB", seed: int = 0
) -> transformers.PreTrainedModel:
    """Give a stock model random weights and save it."""
    randomise(model, seed=seed)
    model.save_pretrained(folder, max_shard_size=shard)
    return model


@torch.no_grad()
def outputs(
    loaded: Loaded, kind: str, sequences: Sequences, *, layout: Callable = packed
) -> Tensor:
    """Scores of one of our heads, (tokens, vocab) or (sequences, outputs)."""
    batch = layout(sequences)
    hidden = loaded.model.encode(batch)
    if kind == "hidden":
        return in_order(hidden, batch)
    if kind in ("masked", "causal"):
        return loaded.heads[kind](in_order(hidden, batch), loaded.model.embed.tokens.weight)
    return loaded.heads[kind](hidden, batch.layout["tokens"])


@torch.no_grad()
def stock_outputs(model, sequences: Sequences, *, name: str = "logits", pad: int = 0) -> Tensor:
    """Scores of a stock model in the same form."""
    out = getattr(model(**stock_inputs(sequences, pad=pad)), name)
    return stock_flat(out, sequences) if out.dim() == 3 else out


def assert_close(ours: Tensor, theirs: Tensor, *, most: float = 1e-5) -> None:
    """Equal up to rounding, and not because both are nothing."""
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 0.01
    assert (ours - theirs).abs().max() <= most

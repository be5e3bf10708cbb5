"""Helpers of the parity tests: the same ragged texts given to a stock model and to ours."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from torch import Tensor

from headstart.batch import Sequences
from headstart.families import Loaded
from layouts import in_order, packed, padded, two_streams

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


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


def assert_gradients_close(
    pairs: list[tuple[Tensor | None, Tensor | None]], *, most: float = 1e-4
) -> None:
    """Each pair equal up to a share of its largest number, and not because it is nothing."""
    for mine, theirs in pairs:
        assert mine is not None
        assert theirs is not None
        assert mine.shape == theirs.shape
        largest = float(theirs.abs().max())
        assert largest > 1e-4
        assert float((mine - theirs).abs().max()) <= most * largest


@torch.no_grad()
def pair_outputs(
    loaded: Loaded,
    kind: str,
    sources: Sequences,
    targets: Sequences,
    *,
    layout: Callable = packed,
) -> Tensor:
    """States or next-token scores of an encoder-decoder of ours, for the targets' tokens."""
    batch = two_streams(layout(sources), layout(targets))
    hidden = loaded.model.decode(batch, loaded.model.encode(batch))
    states = in_order(hidden, batch, stream="decoder_tokens")
    if kind == "hidden":
        return states
    return loaded.heads[kind](states, loaded.model.embed.tokens.weight)


def stock_pair_inputs(sources: Sequences, targets: Sequences, *, pad: int = 0) -> dict[str, Tensor]:
    """What a stock encoder-decoder takes."""
    found = stock_inputs(targets, pad=pad)
    return stock_inputs(sources, pad=pad) | {
        f"decoder_{name}": values for name, values in found.items()
    }


@torch.no_grad()
def stock_pair_outputs(
    model: torch.nn.Module,
    sources: Sequences,
    targets: Sequences,
    *,
    name: str = "logits",
    pad: int = 0,
) -> Tensor:
    """The same of a stock model."""
    out = getattr(model(**stock_pair_inputs(sources, targets, pad=pad)), name)
    return stock_flat(out, targets)

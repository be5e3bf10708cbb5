"""GPT-2 of transformers, trained as well as a plain loop can: the peer of `language.py`.

bf16 autocast, fused AdamW (0.9, 0.95; decay 0.1 on matrices), warm-up and a straight way down to
nothing by the clock, gradients clipped at 1, no dropout, blocks of whole width cut anew from the
packed stream of all texts in every pass.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

import peer_models

WARMUP, BETAS, DECAY, CLIP = 0.05, (0.9, 0.95), 0.1, 1.0
TITLE = (
    "transformers GPT2LMHeadModel, plain loop: bf16 autocast, SDPA, fused AdamW (0.9, 0.95, decay "
    "0.1), warm-up 5 % and straight to zero by the clock, clip 1, no dropout, packed whole blocks"
)


@dataclass(frozen=True)
class Shape:
    """Layers, width, heads; inside the MLP it is four times as wide."""

    layers: int
    hidden: int
    heads: int


def stream_of(texts: Sequence[np.ndarray], lead: int) -> np.ndarray:
    """All texts one after another, each after the token that stands between texts."""
    return np.concatenate([part for text in texts for part in ([lead], text)])


def fresh(shape: Shape, *, vocabulary: int, width: int, seed: int) -> nn.Module:
    """GPT-2 of this size with stock's own initial weights."""
    torch.manual_seed(seed)
    transformers.logging.set_verbosity_error()
    size = peer_models.Size(shape.hidden, shape.layers, shape.heads)
    return peer_models.gpt2(size, vocabulary=vocabulary, width=width)


def train(
    model: nn.Module,
    stream: np.ndarray,
    *,
    width: int,
    tokens_a_step: int,
    seconds: float,
    rate: float,
    seed: int,
) -> dict[str, float]:
    """Train for so many seconds; what was done: steps, tokens, seconds, the last steps' loss."""
    device = next(model.parameters()).device
    named = list(model.named_parameters())
    groups = [
        {"params": [p for _, p in named if p.dim() > 1], "weight_decay": DECAY},
        {"params": [p for _, p in named if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=True)
    batches = _batches(stream, width=width, count=tokens_a_step // width, seed=seed)
    model.train()
    start, steps, tokens = time.perf_counter(), 0, 0
    losses: list[float] = []
    while (done := (time.perf_counter() - start) / seconds) < 1:
        factor = min(1.0, (done + 1e-3) / WARMUP, (1 - done) / (1 - WARMUP))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        ids = next(batches).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            scores = model(input_ids=ids).logits[:, :-1]
            loss = F.cross_entropy(scores.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps, tokens = steps + 1, tokens + ids[:, 1:].numel()
        losses = [*losses[-19:], float(loss.detach())]
    spent = time.perf_counter() - start
    return {
        "steps": steps,
        "tokens": tokens,
        "seconds": spent,
        "tokens_per_s": tokens / spent,
        "loss": float(np.mean(losses)),
    }


def _batches(stream: np.ndarray, *, width: int, count: int, seed: int) -> Iterator[Tensor]:
    """Batches of blocks without end; each pass begins at another place and has another order."""
    rng = np.random.default_rng(seed)
    waiting = np.zeros((0, width), np.int64)
    count = max(1, count)
    while True:
        begin = int(rng.integers(min(width, len(stream) - width + 1)))
        blocks = stream[begin : begin + (len(stream) - begin) // width * width].reshape(-1, width)
        waiting = np.concatenate([waiting, blocks[rng.permutation(len(blocks))]])
        whole = len(waiting) // count * count
        for rows in waiting[:whole].reshape(-1, count, width):
            yield torch.from_numpy(rows.copy())
        waiting = waiting[whole:]

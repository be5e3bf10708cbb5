"""Bits per byte of held-out texts: one function for every model that gives log-probabilities.

A text, with the token that stands between texts before it, is read in windows of one width that
overlap by half. Every token of the text is counted in exactly one of them, the first that it is in;
so all but a text's first tokens are predicted from at least half a window. Bits of all tokens over
bytes (UTF-8) of all texts: vocabularies do not matter, what a model knows does.

Legend: N windows, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headstart.batch import Batch, Sequences
from headstart.data.pack import lay_out
from headstart.families import Loaded

SCORES_AT_ONCE = 2**24  # of tokens x vocabulary

# (N, W) ids to the natural log-probability (N, W - 1) of each token after those before it
LogChances = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Reading:
    """Texts as windows.

    tokens: (N, W) ids. counted: (N, W) whether a token is counted there; the first never is.
    size: bytes of the texts.
    """

    tokens: np.ndarray
    counted: np.ndarray
    size: int


def read_in_windows(texts: Sequence[np.ndarray], *, width: int, lead: int, size: int) -> Reading:
    """All texts (token ids) in windows of `width`, with `lead` before each text."""
    rows, counted = [], []
    for text in texts:
        whole, known = np.append(lead, text), 1
        while known < len(whole):
            begin = max(0, min(known - width // 2, len(whole) - width)) if known > 1 else 0
            piece = whole[begin : begin + width]
            row, mark = np.full(width, lead, np.int64), np.zeros(width, bool)
            row[: len(piece)] = piece
            mark[known - begin : len(piece)] = True
            rows.append(row)
            counted.append(mark)
            known = begin + len(piece)
    return Reading(np.stack(rows), np.stack(counted), size)


@torch.no_grad()
def bits_per_byte(reading: Reading, chances: LogChances, *, vocabulary: int) -> float:
    """Of all texts together, by a model's log-probabilities."""
    most = max(1, SCORES_AT_ONCE // (vocabulary * reading.tokens.shape[1]))
    total = 0.0
    for start in range(0, len(reading.tokens), most):
        ids = torch.from_numpy(reading.tokens[start : start + most])
        found = chances(ids).double().cpu()
        total += float(found[torch.from_numpy(reading.counted[start : start + most, 1:])].sum())
    return -total / np.log(2) / reading.size


def chances_of_ours(loaded: Loaded) -> LogChances:
    """A model of ours with a language head."""
    model, head = loaded.model.eval(), loaded.heads["causal"].eval()
    device = model.embed.tokens.weight.device

    def found(ids: Tensor) -> Tensor:
        count, width = ids.shape
        lengths = np.full(count, width)
        rows = Sequences(ids.numpy().reshape(-1), lengths, np.arange(count))
        tokens, layout = lay_out(rows, prefix=None, suffix=None, pad=0, pack=False)
        batch = Batch({"tokens": tokens}, {"tokens": layout}, {}).to(device)
        at = batch.layout["tokens"].first[:, None] + torch.arange(width - 1, device=device)
        states = model.encode(batch, causal=True)[at.flatten()]
        scores = head(states, model.embed.tokens.weight).view(count, width - 1, -1)
        return _of_next(scores, ids.to(device))

    return found


def chances_of_stock(model: torch.nn.Module) -> LogChances:
    """A causal model of transformers."""
    model.eval()
    device = next(model.parameters()).device

    def found(ids: Tensor) -> Tensor:
        ids = ids.to(device)
        return _of_next(model(input_ids=ids).logits[:, :-1], ids)

    return found


def _of_next(scores: Tensor, ids: Tensor) -> Tensor:
    return scores.float().log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]

"""Drawing a token: temperature, the likeliest few, and noise that depends on nothing but its key.

A text's noise is keyed by the seed and the text's own prompt, so what else is in the batch and in
which order changes nothing; the same prompt twice in a batch gives the same text twice.

Legend: S texts, V vocabulary, C candidates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from headstart.generate.settings import Decoding

FIRST_LOOK = 64  # candidates among which a top-p set is looked for before the whole vocabulary
SECOND_LOOK = 1024


def noise(prompt: Sequence[int], *, count: int, seed: int) -> np.ndarray:
    """(count,) numbers in [0, 1) for the tokens after a prompt.

    From raw Philox output, which numpy keeps the same between versions.
    """
    digest = hashlib.blake2b(np.asarray(prompt, dtype="<i8").tobytes(), digest_size=16).digest()
    key = [seed, *np.frombuffer(digest, dtype="<u4").tolist()]
    raw = np.random.Philox(np.random.SeedSequence(key)).random_raw(count)
    numbers: np.ndarray = (raw >> np.uint64(11)) * 2.0**-53
    return numbers


def draw(scores: Tensor, how: Decoding, numbers: Tensor) -> Tensor:
    """A token of each text (S,) from scores (S, V), by numbers (S,) in [0, 1)."""
    chances, ids = candidates(scores, how)
    upto = chances.double().cumsum(-1)  # S C
    aim = numbers[:, None].double() * upto[:, -1:]
    place = torch.searchsorted(upto, aim, right=True).clamp_(max=chances.shape[1] - 1)
    return place[:, 0] if ids is None else ids.gather(1, place)[:, 0]


def candidates(scores: Tensor, how: Decoding) -> tuple[Tensor, Tensor | None]:
    """Chances (S, C) of the tokens from which one is drawn, and which these are; None: all.

    They need not add up to one; tokens that are left out have none.
    """
    scores = scores / how.temperature
    if not how.top_k and how.top_p == 1:
        return scores.softmax(-1), None
    if how.top_k:
        values, ids = torch.topk(scores, min(how.top_k, scores.shape[1]))
        return _within(values.softmax(-1), how.top_p), ids
    whole = scores.logsumexp(-1, keepdim=True)
    for count in (FIRST_LOOK, SECOND_LOOK):  # sorting a vocabulary costs more than a whole step
        if count >= scores.shape[1]:
            break
        values, ids = torch.topk(scores, count)
        chances = (values - whole).exp()
        if bool((chances.sum(-1) >= how.top_p).all()):
            return _within(chances, how.top_p), ids
    values, ids = torch.sort(scores, descending=True)
    return _within((values - whole).exp(), how.top_p), ids


def _within(chances: Tensor, top_p: float) -> Tensor:
    """Descending chances (S, C) of which those are 0 that come when `top_p` is reached."""
    if top_p == 1:
        return chances
    before = chances.cumsum(-1) - chances
    return chances.masked_fill(before >= top_p, 0)

"""What may come next: scores of tokens that would repeat, end or break the rules are changed.

In: scores (S, V) and what the texts hold. Out: the scores, changed in place. Each control means
what the processor of its name in transformers means; texts of unlike length have no padding here
that could count as a token.

Legend: S texts, V vocabulary, L tokens of the longest text, W windows of a text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.generate.settings import Decoding

NEVER = float("-inf")


def control(scores: Tensor, how: Decoding, *, ids: Tensor, lengths: Tensor, new: int) -> Tensor:
    """Scores (S, V) of the next tokens after all controls, changed in place.

    ids: (S, L) tokens so far, -1 behind a text's end; lengths: (S,); new: how many were written.
    """
    if how.repetition_penalty != 1:
        penalise_repeats(scores, ids, how.repetition_penalty)
    if how.no_repeat_ngram:
        forbid_repeats(scores, ids, lengths, how.no_repeat_ngram)
    if how.banned:
        scores[:, list(how.banned)] = NEVER
    if how.ends and new < how.min_new:
        scores[:, list(how.ends)] = NEVER
    if how.forced_end is not None and new == how.max_new - 1:
        scores.fill_(NEVER)
        scores[:, how.forced_end] = 0
    return scores


def penalise_repeats(scores: Tensor, ids: Tensor, penalty: float) -> None:
    """Make tokens that occur in a text less likely (Keskar et al. 2019, section 4.1)."""
    there = torch.where(ids < 0, ids[:, :1], ids)  # a token named twice is changed once
    known = scores.gather(1, there)
    scores.scatter_(1, there, torch.where(known < 0, known * penalty, known / penalty))


def forbid_repeats(scores: Tensor, ids: Tensor, lengths: Tensor, size: int) -> None:
    """Forbid tokens that would end a run of `size` tokens which a text holds already."""
    if ids.shape[1] < size:
        return
    windows = ids.unfold(1, size, 1)  # S W size
    back = torch.arange(1 - size, 0, device=ids.device)
    ending = ids.gather(1, (lengths[:, None] + back).clamp(min=0))  # S size-1
    last = windows[..., -1]
    same = (windows[..., :-1] == ending[:, None]).all(-1) & (last >= 0)
    text, window = torch.nonzero(same, as_tuple=True)
    scores[text, last[text, window]] = NEVER

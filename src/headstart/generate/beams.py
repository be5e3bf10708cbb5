"""Beam search: of each text the likeliest few are kept, and the best that ended is given.

Scores, length penalty and the rules of ending are those of transformers; texts that are done leave
the batch, and the beams of a text are read once until they part.

Legend: N texts, B beams of each, C candidates of each (beams and as many more as could end at
once), V vocabulary, W most new tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from headstart.generate.continuation import Continuation, Writer
from headstart.generate.controls import control
from headstart.generate.settings import Decoding

FAR = -1e9  # a score that no text has


@dataclass
class _State:
    """What is known of the N texts that go on.

    running: (N, B) log-probabilities of the open texts. tokens: (N, B, W) what they hold.
    scores, done, texts, sizes: (N, B), (N, B), (N, B, W), (N, B) of the best that ended.
    hopeful: (N, 1) whether a better one may still come.
    """

    running: Tensor
    tokens: Tensor
    scores: Tensor
    done: Tensor
    texts: Tensor
    sizes: Tensor
    hopeful: Tensor

    def take(self, which: Tensor) -> _State:
        """Some of the texts."""
        return _State(*(getattr(self, part.name)[which] for part in fields(self)))


def beam_search(
    writer: Writer,
    prompts: Sequence[Sequence[int]],
    how: Decoding,
    *,
    stop: Callable[[Sequence[int]], bool] | None = None,
    cached: bool = True,
) -> list[list[int]]:
    """The tokens of the best text after each prompt, with its end token if it has one."""
    if not prompts:
        return []
    with torch.inference_mode():
        return _search(writer, prompts, how, stop, cached)


def _search(
    writer: Writer,
    prompts: Sequence[Sequence[int]],
    how: Decoding,
    stop: Callable[[Sequence[int]], bool] | None,
    cached: bool,
) -> list[list[int]]:
    count, beams = len(prompts), how.beams
    going = Continuation(writer, prompts, new=how.max_new, cached=cached)
    device = going.ids.device
    common = int(going.lengths.min())
    state = _begin(count, how, device)
    numbers = list(range(count))
    best: dict[int, list[int]] = {}
    scores = going.scores()
    going.select(torch.arange(count, device=device).repeat_interleave(beams))
    scores = scores.repeat_interleave(beams, 0)
    for new in range(how.max_new):
        logs = control(scores.log_softmax(-1), how, ids=going.held, lengths=going.lengths, new=new)
        which, chosen, finished = _advance(state, logs, how, stop, new)
        here = torch.arange(len(numbers), device=device)[:, None] * beams
        going.select((here + which).flatten(), common=common)
        going.add(chosen.flatten())
        over = finished.tolist()
        for row, number in enumerate(numbers):
            if over[row]:
                best[number] = state.texts[row, 0, : int(state.sizes[row, 0])].tolist()
        open_ = [row for row, ended in enumerate(over) if not ended]
        if not open_:
            break
        if len(open_) < len(numbers):
            kept = torch.tensor(open_, device=device)
            state, numbers = state.take(kept), [numbers[row] for row in open_]
            rows = kept[:, None] * beams + torch.arange(beams, device=device)
            going.select(rows.flatten())
        scores = going.scores()
    return [best[number] for number in range(count)]


def _begin(count: int, how: Decoding, device: torch.device) -> _State:
    shape = (count, how.beams)
    running = torch.zeros(shape, device=device)
    running[:, 1:] = FAR  # all beams are the same text still: only the first may go on
    tokens = torch.zeros((*shape, how.max_new), dtype=torch.long, device=device)
    return _State(
        running,
        tokens,
        scores=torch.full(shape, FAR, device=device),
        done=torch.zeros(shape, dtype=torch.bool, device=device),
        texts=tokens.clone(),
        sizes=torch.zeros(shape, dtype=torch.long, device=device),
        hopeful=torch.ones((count, 1), dtype=torch.bool, device=device),
    )


def _advance(
    state: _State,
    logs: Tensor,
    how: Decoding,
    stop: Callable[[Sequence[int]], bool] | None,
    new: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """One more token for the beams of each text.

    logs: (N * B, V) of the next tokens. new: tokens that the open texts have.
    Returns which beams go on (N, B), their new tokens (N, B), and which texts are done (N,).
    """
    count, beams = state.running.shape
    vocabulary = logs.shape[1]
    total = (logs.view(count, beams, -1) + state.running[..., None]).view(count, -1)
    width = max(2, 1 + len(how.ends)) * beams
    found, place = torch.topk(total, min(width, total.shape[1]))  # N C
    beam, token = place // vocabulary, place % vocabulary
    tokens = _gather(state.tokens, beam)
    tokens[:, :, new] = token
    ended = torch.isin(token, torch.tensor(how.ends, device=token.device, dtype=token.dtype))
    if stop is not None:
        asked = [[stop(one) for one in text] for text in tokens[..., : new + 1].tolist()]
        ended = ended | torch.tensor(asked, device=token.device)
    if new + 1 == how.max_new:
        ended = torch.ones_like(ended)
    _finish(state, found, tokens, ended, how, new + 1)
    kept = torch.topk(found + ended * FAR, beams)[1]
    state.running = (found + ended * FAR).gather(1, kept)
    state.tokens = _gather(tokens, kept)
    state.hopeful = state.hopeful & _may_improve(state, how, new + 1)
    over = ~state.hopeful[:, 0] | ended.all(1)
    if how.early_stopping == "yes":
        over = over | state.done.all(1)
    return beam.gather(1, kept), token.gather(1, kept), over


def _finish(
    state: _State, found: Tensor, tokens: Tensor, ended: Tensor, how: Decoding, length: int
) -> None:
    """Put the texts that ended now among the best, as far as they are better."""
    beams = state.running.shape[1]
    now = ended.clone()
    now[:, beams:] = False  # behind the first there are only reserves
    scores = found / length**how.length_penalty
    if how.early_stopping == "yes":
        scores = scores + state.done.all(1, keepdim=True) * FAR
    scores = scores + ~state.hopeful * FAR + ~now * FAR
    sizes = torch.full_like(tokens[..., 0], length)
    every = torch.cat([state.scores, scores], 1)
    state.scores, best = torch.topk(every, beams)
    state.done = torch.cat([state.done, now], 1).gather(1, best)
    state.sizes = torch.cat([state.sizes, sizes], 1).gather(1, best)
    state.texts = _gather(torch.cat([state.texts, tokens], 1), best)


def _may_improve(state: _State, how: Decoding, length: int) -> Tensor:
    """(N, 1) whether the likeliest open text could still be better than the worst that ended."""
    longest = how.early_stopping == "never" and how.length_penalty > 0
    reach = how.max_new if longest else length
    hope = state.running[:, :1] / reach**how.length_penalty
    worst = torch.where(state.done, state.scores.amin(1, keepdim=True), FAR)
    return torch.any(hope > worst, dim=1, keepdim=True)


def _gather(texts: Tensor, which: Tensor) -> Tensor:
    """Texts (N, X, W) to those named (N, Y), as (N, Y, W)."""
    return texts.gather(1, which[..., None].expand(-1, -1, texts.shape[-1]))

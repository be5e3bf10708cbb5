"""The loop: the next token of each text, until every text has ended.

In: a `Writer`, prompts as token ids, and how to go on. Out: the tokens of each text, all at once
(`generate`) or as they come (`steps`). A text that has ended leaves the batch at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch

from headstart.generate.beams import beam_search
from headstart.generate.continuation import Continuation, Writer
from headstart.generate.controls import control
from headstart.generate.draw import draw, noise
from headstart.generate.settings import Decoding

Ending = Literal["end", "stop", "length"]
Stop = Callable[[Sequence[int]], bool]


class Token(NamedTuple):
    """A token of the text of this number. ended: why it is the text's last; it is not part of the
    text if that is "end".
    """

    text: int
    id: int
    ended: Ending | None


@dataclass
class Written:
    """What was written after one prompt, the end token left out, and why it ended there."""

    tokens: list[int] = field(default_factory=list)
    ended: Ending = "length"


def generate(
    writer: Writer,
    prompts: Sequence[Sequence[int]],
    how: Decoding,
    *,
    stop: Stop | None = None,
    cached: bool = True,
) -> list[Written]:
    """Continue every prompt; the texts in the order of the prompts.

    stop: whether a text ends with these new tokens, asked after every token. cached: whether
    earlier tokens are kept instead of read again, where the model can; the result is the same.
    """
    if how.beams > 1:
        found = beam_search(writer, prompts, how, stop=stop, cached=cached)
        return [_written(tokens, how, stop) for tokens in found]
    texts = [Written() for _ in prompts]
    for tokens in steps(writer, prompts, how, stop=stop, cached=cached):
        for token in tokens:
            text = texts[token.text]
            if token.ended != "end":
                text.tokens.append(token.id)
            if token.ended is not None:
                text.ended = token.ended
    return texts


def _written(tokens: list[int], how: Decoding, stop: Stop | None) -> Written:
    """A text of beam search."""
    if tokens and tokens[-1] in how.ends:
        return Written(tokens[:-1], "end")
    return Written(tokens, "stop" if stop is not None and stop(tokens) else "length")


@torch.inference_mode()
def steps(
    writer: Writer,
    prompts: Sequence[Sequence[int]],
    how: Decoding,
    *,
    stop: Stop | None = None,
    cached: bool = True,
) -> Iterator[list[Token]]:
    """The next token of each text that has not ended, again and again; without beams."""
    assert how.beams == 1, "beams are known only at the end"
    if not prompts:
        return
    going = Continuation(writer, prompts, new=how.max_new, cached=cached)
    written: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))  # the text of each row
    numbers = None
    if how.drawn:
        every = [noise(prompt, count=how.max_new, seed=how.seed) for prompt in prompts]
        numbers = torch.from_numpy(np.stack(every)).to(going.ids.device)  # S max_new
    for new in range(how.max_new):
        scores = control(going.scores(), how, ids=going.held, lengths=going.lengths, new=new)
        chosen = scores.argmax(-1) if numbers is None else draw(scores, how, numbers[:, new])
        found = []
        for text, token in zip(rows, chosen.tolist(), strict=True):
            written[text].append(token)
            found.append(Token(text, token, _ending(written[text], how, stop)))
        yield found
        open_ = [row for row, token in enumerate(found) if token.ended is None]
        if not open_:
            return
        going.add(chosen)
        if len(open_) < len(rows):
            which = torch.tensor(filled_holes(open_), device=chosen.device)
            going.select(which)
            rows = [rows[row] for row in which.tolist()]
            numbers = None if numbers is None else numbers[which]


def _ending(tokens: list[int], how: Decoding, stop: Stop | None) -> Ending | None:
    """Why a text ends with its last token, if it does."""
    if tokens[-1] in how.ends:
        return "end"
    if stop is not None and stop(tokens):
        return "stop"
    return "length" if len(tokens) == how.max_new else None


def filled_holes(kept: Sequence[int]) -> list[int]:
    """Ascending row numbers in an order in which most stay where they are: the last fill holes."""
    count = len(kept)
    staying = {row for row in kept if row < count}
    moving = iter([row for row in kept if row >= count])
    return [row if row in staying else next(moving) for row in range(count)]

"""`headstart generate`: what a model writes after prompts, or instead of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from headstart.data.files import read_documents
from headstart.data.record import Problem
from headstart.errors import InputError
from headstart.events import Events, Silent
from headstart.generate.defaults import Choices
from headstart.recipes.results import Generated, Generations
from headstart.serve.generate import Generator
from headstart.words import say


def generate(
    model: str | Generator | None,
    prompts: Sequence[str] = (),
    *,
    file: Path | None = None,
    encoding: str | None = None,
    stop: Sequence[str] = (),
    show: Callable[[str], None] | None = None,
    events: Events | None = None,
    **choices: Unpack[Choices],
) -> Generations:
    """Continue each prompt; the texts in the order of the prompts.

    model: a run folder, a Hugging Face folder, "hf:NAME", or what was opened from one before.
    file: further prompts, one a line, or the texts of a table, in this encoding. stop: strings
    before which a text ends. show: is given the text of a single prompt in pieces, as it is
    written, and a line's end.
    Raises InputError if there is no prompt, or the model cannot write.
    """
    listener = events or Silent()
    every = [*prompts, *(_prompts(file, encoding, listener) if file is not None else ())]
    if not every:
        raise InputError("there is nothing to go on from: give prompts, or a file of them")
    generator = _opened(model)
    for note in generator.notes:
        listener.note(note)
    begun = time.perf_counter()
    live = show is not None and len(every) == 1 and generator.how(**choices).beams == 1
    if live and show is not None:
        stream = generator.stream(every[0], stop=stop, **choices)
        for piece in stream:
            show(piece)
        show("\n")
        texts = [stream.text]
    else:
        texts = generator.generate(every, stop=stop, **choices)
    seconds = time.perf_counter() - begun
    if cut := sum(text.cut for text in texts):
        read = generator.learnt is not None  # prompts are laid out as sources were in training
        listener.note(say("prompts_cut_behind" if read else "prompts_cut", count=cut))
    tokens = sum(text.tokens for text in texts)
    listener.note(say("generated", tokens=tokens, seconds=seconds, speed=tokens / seconds))
    return Generations([Generated(t.prompt, t.text, t.tokens, t.ended) for t in texts], shown=live)


def _opened(model: str | Generator | None) -> Generator:
    if isinstance(model, Generator):
        return model
    if not model:
        raise InputError("no model given: name a run folder, a Hugging Face folder, or hf:NAME")
    return Generator.open(model)


def _prompts(file: Path, encoding: str | None, events: Events) -> list[str]:
    """One prompt a line, or a row of a table."""
    found = []
    for item in read_documents([file], encoding=encoding, lines=True):
        if not isinstance(item, Problem):
            found.append(item.text)
        elif item.outcome == "reject":
            raise InputError(str(item))
        else:
            events.note(str(item))
    return found

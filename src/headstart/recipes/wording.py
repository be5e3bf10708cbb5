"""What a model writes for labelled rows, measured beside controls that have learnt nothing.

The controls are a source's first sentence, its first words, and the most frequent training text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart.data.dataset import Labelled
from headstart.evaluate.wording import (
    LEADING,
    LOSS,
    Spread,
    first_sentence,
    first_words,
    loss_spread,
    wording,
)
from headstart.events import Events
from headstart.recipes.medium import Rows
from headstart.recipes.results import Measured
from headstart.serve.author import Author
from headstart.tasks import Room, TextPairs
from headstart.words import say


def measured_texts(authors: Sequence[Author], rows: Rows, events: Events) -> Measured:
    """Scores of what these models write for the rows, beside the controls'."""
    assert isinstance(rows, Labelled), "texts are written after texts"
    gold = rows.labels.tolist()
    count = len(gold) * len(authors)
    first = authors[0]
    tell_cuts(first.pairs(rows.texts, gold), first.writing.room, rows, events, measured=True)
    written, losses = [], []
    for number, author in enumerate(authors):

        def progress(done: int, _: int, number: int = number) -> None:
            events.progress("evaluate", number * len(gold) + done, count)

        losses.append(author.losses(rows.texts, gold))
        written.append(author.write(rows.texts, progress=progress))
    sums, counts = (np.stack([one[part] for one in losses]) for part in (0, 1))
    habits = first.writing.habits
    controls = {
        "first_sentence": [first_sentence(text) for text in rows.texts],
        "first_words": [first_words(text, habits.words) for text in rows.texts],
        "most_frequent": [habits.frequent] * len(gold),
    }
    model = {**wording(written, gold), LOSS: loss_spread(sums, counts)}
    found = {"model": model, **{name: wording([some], gold) for name, some in controls.items()}}
    leading = model[LEADING]
    return Measured(
        metric=LEADING,
        score=leading.value,
        low=leading.low,
        high=leading.high,
        rows=len(gold),
        others={name: one.value for name, one in model.items() if name != LEADING},
        spreads={name: _plain(some) for name, some in found.items()},
    )


def tell_cuts(
    pairs: TextPairs,
    room: Room,
    rows: Labelled,
    events: Events,
    *,
    measured: bool = False,
) -> None:
    """Say how many sources and targets are longer than what is read and written of them."""
    for key, part, most in (
        ("sources_cut", pairs.sources, room.source),
        ("targets_cut", pairs.targets, room.target),
    ):
        count = int((part.lengths > most).sum())
        if count:
            longest = int(part.lengths.argmax())
            events.note(
                say(
                    f"measured_{key}" if measured else key,
                    count=count,
                    rows=len(rows),
                    most=most,
                    longest=int(part.lengths[longest]),
                    line=int(rows.lines[longest]),
                    source=Path(rows.source).name,
                )
            )


def _plain(spreads: dict[str, Spread]) -> dict[str, tuple[float, float, float]]:
    return {name: (one.value, one.low, one.high) for name, one in spreads.items()}

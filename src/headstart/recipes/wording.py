"""What a model writes for labelled rows, measured beside controls that have learnt nothing.

The controls are a source's first sentence, its first words, and the most frequent training text.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def measured_texts(authors: Sequence[Author], rows: Rows, events: Events) -> Measured:
    """Scores of what these models write for the rows, beside the controls'."""
    assert isinstance(rows, Labelled), "texts are written after texts"
    gold = rows.labels.tolist()
    count = len(gold) * len(authors)
    written, losses = [], []
    for number, author in enumerate(authors):

        def progress(done: int, _: int, number: int = number) -> None:
            events.progress("evaluate", number * len(gold) + done, count)

        losses.append(author.losses(rows.texts, gold))
        written.append(author.write(rows.texts, progress=progress))
    sums, counts = (np.stack([one[part] for one in losses]) for part in (0, 1))
    habits = authors[0].writing.habits
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


def _plain(spreads: dict[str, Spread]) -> dict[str, tuple[float, float, float]]:
    return {name: (one.value, one.low, one.high) for name, one in spreads.items()}

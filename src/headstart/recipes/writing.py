"""Texts to be written, in `finetune`, `evaluate` and `predict`: what differs from other labels.

A model that cannot write is refused before data is read where `data.kind` says what labels are, and
before anything is trained where that is inferred. Scores stand beside three controls that have
learnt nothing: a source's first sentence, its first words, and the most frequent training text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.abilities import ARRANGEMENTS, WRITERS, families_of
from headstart.config import FinetuneSettings
from headstart.data.dataset import Labelled
from headstart.data.text import encode
from headstart.errors import InputError
from headstart.evaluate.transfer import Start, TransferSettings
from headstart.evaluate.wording import most_frequent, usual_words
from headstart.evaluate.writing import (
    Writing,
    choose_to_write,
    learn_to_write,
    ways_to_write,
)
from headstart.events import Events
from headstart.families import Loaded, Model
from headstart.families.written import Habits
from headstart.objectives import Vocabulary
from headstart.recipes.medium import Rows as LabelledRows
from headstart.recipes.results import Measured
from headstart.recipes.seeds import Learnt, Rows, chosen_once, over_seeds
from headstart.recipes.text_medium import writing_model
from headstart.recipes.unfinished import Unfinished
from headstart.recipes.wording import measured_texts, tell_cuts
from headstart.serve.author import Author, spelled
from headstart.tasks import TextPairs, Write
from headstart.train import StepRecord
from headstart.words import say

# settings of a transfer that say nothing about writing
UNREAD = ("head", "head_scale", "balanced", "self_training", "max_windows", "unfreeze", "crop")
LOOKED_AT = 200  # targets that are spelled by a tokenizer and compared


def refuse_early(settings: FinetuneSettings, loaded: Loaded | None) -> None:
    """The same before data is read. loaded: None for fresh weights."""
    if loaded is not None:
        refuse_to_write(settings, loaded.model)
        return
    family = writing_model(settings.model).family
    able = ARRANGEMENTS.get(family, ("encoder",))
    _refuse(settings, family, next((a for a in able if a in WRITERS), able[0]))


def refuse_to_write(settings: FinetuneSettings, model: Model) -> None:
    """Raise InputError if this model, or this way to learn, cannot learn to write."""
    _refuse(settings, model.family, model.arrangement)


def _refuse(settings: FinetuneSettings, family: str, arrangement: str) -> None:
    if arrangement not in WRITERS:
        raise InputError(
            "texts can be written by a decoder or an encoder-decoder "
            f"({', '.join(families_of(WRITERS))}), but {_whose(settings)} is of family {family} "
            f"({arrangement}): start from one of those, or, if the labels are classes, say so with "
            "--task classes"
        )
    chosen = settings.transfer
    if chosen.method == "probe":
        raise InputError(
            "transfer.method probe is a linear map of a frozen text, which gives scores and cannot "
            "write: choose lora, partial or full"
        )
    usual = type(chosen)()
    for name in UNREAD:
        value = getattr(chosen, name)
        if value != getattr(usual, name):
            raise InputError(
                f"transfer.{name} {value} says nothing about texts that are to be written: leave "
                "it out"
            )


def _whose(settings: FinetuneSettings) -> str:
    return "model.family" if settings.start == "scratch" else f"the model of {settings.start}"


def learn(
    origin: Start,
    rows: Rows,
    settings: FinetuneSettings,
    how: TransferSettings,
    left: Unfinished,
    events: Events,
) -> Learnt[Writing]:
    """One model a seed; the best has the least loss on the rows held out."""
    pairs = pairs_of(rows.learn, origin)
    texts = list(rows.learn.labels)
    habits = Habits(usual_words(texts), most_frequent(texts))
    _tell_fit(origin, rows.learn, pairs, how, events)
    options = ways_to_write(origin, settings.transfer.method, how)
    choice = chosen_once(
        lambda: choose_to_write(origin, pairs, options, habits=habits, seed=settings.seed),
        left,
        events,
    )
    held = None if rows.held is None else pairs_of(rows.held, origin)

    def fit(seed: int, folder: Path, watch: Callable[[StepRecord], None]) -> Writing:
        return learn_to_write(
            origin,
            pairs,
            choice.candidate.method,
            settings=choice.candidate.settings,
            habits=habits,
            seed=seed,
            folder=folder,
            watch=watch,
        )

    def grade(one: Writing) -> float:
        if held is None:
            return 0.0
        sums, counts = one.losses(held)
        return -float(sums.sum() / counts.sum())

    seeds = range(settings.seed, settings.seed + settings.seeds)
    return over_seeds(seeds, fit, grade, left, events)


def pairs_of(rows: LabelledRows, start: Start) -> TextPairs:
    """Texts and labels as tokens of the start."""
    assert isinstance(rows, Labelled), "texts are written after texts"
    assert start.tokenizer is not None, "a start of texts has a tokenizer"
    return TextPairs(encode(start.tokenizer, rows.texts), encode(start.tokenizer, rows.labels))


def _tell_fit(
    origin: Start, rows: LabelledRows, pairs: TextPairs, how: TransferSettings, events: Events
) -> None:
    """Say what is cut, and whether the tokenizer can spell the texts."""
    assert isinstance(origin.frame, Vocabulary), "a start that reads text"
    assert isinstance(rows, Labelled), "texts are written after texts"
    room = Write.of(origin.model, origin.frame).room(
        origin.model, max_length=how.max_length, target_length=how.target_length
    )
    tell_cuts(pairs, room, rows, events)
    tokenizer = origin.tokenizer
    assert tokenizer is not None, "a start of texts has a tokenizer"
    some = rows.labels[:LOOKED_AT].tolist()
    pieces = np.split(pairs.targets.tokens, np.cumsum(pairs.targets.lengths)[:-1])
    again = spelled(tokenizer, [piece.tolist() for piece in pieces[:LOOKED_AT]])
    other = [(one, two) for one, two in zip(some, again, strict=True) if one != two]
    if len(other) > 0.1 * len(some):
        events.note(
            say(
                "texts_respelled",
                share=round(100 * len(other) / len(some)),
                wanted=other[0][0][:60],
                spelled=other[0][1][:60],
            )
        )


def measure(learnt: Learnt[Writing], rows: Rows, origin: Start, events: Events) -> Measured:
    """Scores on the test rows, or on those held out, over all seeds."""
    assert origin.tokenizer is not None, "a start of texts has a tokenizer"
    authors = [Author(one, origin.tokenizer) for one in learnt.fitted]
    return measured_texts(authors, rows.measured, events)


def with_target_length(how: TransferSettings, settings: FinetuneSettings) -> TransferSettings:
    """What a transfer is told, and how long texts may be."""
    return replace(how, target_length=settings.data.target_length)

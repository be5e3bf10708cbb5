"""What is wrong with records, told where they are read: the first ones, and how many more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from headstart.data.record import Problem, stop_at
from headstart.errors import InputError
from headstart.events import Events
from headstart.recipes.medium import Rows
from headstart.words import say

MOST_TOLD = 5


def echo(examples: Rows, events: Events) -> None:
    """Say what was read, and the first rows that were set aside."""
    events.note(examples.note)
    tell(examples.problems, events)


def tell(problems: Sequence[Problem], events: Events) -> None:
    """Say the first problems, and how many are not shown."""
    for found in problems[:MOST_TOLD]:
        events.note(str(found))
    left = len(problems) - MOST_TOLD
    if left > 0:
        events.note(say("problems_more", more=left))


def tell_files(notes: Sequence[str], events: Events) -> None:
    """Say how files are read, in the first ways, and how many more ways there are."""
    for line in notes[:MOST_TOLD]:
        events.note(line)
    if len(notes) > MOST_TOLD:
        events.note(say("files_more", more=len(notes) - MOST_TOLD))


def refuse_without_text(data: Sequence[Path], problems: Sequence[Problem]) -> NoReturn:
    """Raise InputError for a corpus without any text: its problems are why, if it has some."""
    stop_at(problems)
    raise InputError(f"{', '.join(map(str, data))}: there is no text to pretrain on")

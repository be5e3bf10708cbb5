"""One task learnt with several seeds: rows by their use, a model a seed, and which to keep.

What differs between tasks, how a model is fitted and how it is graded on the rows held out, is
given by `finetuning` and `writing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from headstart.errors import Interrupted
from headstart.evaluate.transfer import Choice
from headstart.events import Events
from headstart.recipes.medium import Rows as LabelledRows
from headstart.recipes.unfinished import Unfinished
from headstart.train import StepRecord
from headstart.words import say


@dataclass(frozen=True)
class Rows:
    """The labelled rows by their use; held: to choose the best seed by, and without a test file to
    measure on.
    """

    learn: LabelledRows
    held: LabelledRows | None
    test: LabelledRows | None

    @property
    def measured(self) -> LabelledRows:
        """The rows that a score is of."""
        found = self.test or self.held
        assert found is not None, "there are always rows to measure on"
        return found


class Timed(Protocol):
    """A model that has learnt."""

    @property
    def cost_s(self) -> float:
        """Wall time of learning."""
        ...


T = TypeVar("T", bound=Timed)


@dataclass(frozen=True)
class Learnt(Generic[T]):
    """One model a seed, the number of the one to keep, and what happened on the way."""

    fitted: list[T]
    best: int
    history: list[dict[str, object]]

    @property
    def steps(self) -> int:
        """Steps of all seeds."""
        return sum("loss" in line for line in self.history)


def over_seeds(
    seeds: Sequence[int],
    fit: Callable[[int, Path, Callable[[StepRecord], None]], T],
    grade: Callable[[T], float],
    left: Unfinished,
    events: Events,
) -> Learnt[T]:
    """Fit with each seed, grade on the rows held out (more is better), remember the history.

    fit: gets the seed, a folder for its state, and who hears of steps.
    """
    fitted, scores = [], []
    history: list[dict[str, object]] = []
    for place, seed in enumerate(seeds):

        def watch(record: StepRecord, place: int = place) -> None:
            done = place + record.step / record.total
            events.progress("finetune", done, len(seeds), say("step_loss", loss=record.loss))

        one = fit(seed, left.of_seed(seed), watch)
        fitted.append(one)
        scores.append(grade(one))
        history += [{"seed": seed, **line} for line in left.history(seed)]
        end = {"event": "seed", "seed": seed, "held_out": scores[-1], "seconds": one.cost_s}
        history.append(end)
    events.progress("finetune", len(seeds), len(seeds))
    return Learnt(fitted, int(np.argmax(scores)), history)


def chosen_once(choose: Callable[[], Choice], left: Unfinished, events: Events) -> Choice:
    """The method and its settings, chosen now or by the call that this one takes up."""
    choice = left.choice()
    if choice is None:
        try:
            choice = choose()
        except Interrupted:
            raise Interrupted(
                "stopped while a method was being chosen; the same command chooses again"
            ) from None
        left.keep(choice)
    if choice.scores:
        tried = ", ".join(f"{name} {value:.3f}" for name, value in choice.scores.items())
        events.note(say("method_chosen", method=choice.candidate.method, tried=tried))
    return choice

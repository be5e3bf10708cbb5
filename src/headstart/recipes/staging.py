"""Pretraining in two stages by one command: one objective, and then another from where it ended.

Each stage is a whole run with its part of the budget: the first in the folder "first" of the run's,
the second, which begins from it, in the run's own. Whatever stops, the same command goes on in the
stage that was stopped; a stage that is done is not trained again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from headstart.abilities import objectives_for
from headstart.budget import Budget
from headstart.config import OBJECTIVE_NEEDS, PretrainSettings
from headstart.errors import InputError
from headstart.events import Events
from headstart.families import load_model, resolve
from headstart.recipes.pretraining import default_folder
from headstart.recipes.results import PretrainResult
from headstart.settings_file import to_yaml
from headstart.train import RunFolder
from headstart.words import say

FIRST = "first"  # in the run folder


class Pretrain(Protocol):
    """One stage: `pretraining.pretrain`, or `image_pretraining.pretrain_images`."""

    def __call__(
        self, data: Sequence[Path], *, settings: PretrainSettings, events: Events
    ) -> PretrainResult:
        """Pretrain on these files."""
        ...


def in_stages(
    data: Sequence[Path], *, settings: PretrainSettings, events: Events, run: Pretrain
) -> PretrainResult:
    """Both stages; the result is the second's, with the steps, tokens and time of both.

    Raises InputError, before anything is read, if the second stage could not be done.
    """
    refuse_stages(settings)
    folder = RunFolder(Path(settings.out or default_folder("pretrain", data))).create()
    folder.write_settings(to_yaml(settings))
    done: list[PretrainResult] = []
    for number, stage in enumerate(stages(settings, folder.path), 1):
        events.note(
            say(
                "stage",
                number=number,
                objective=stage.objective.name,
                budget=stage.budget,
                out=stage.out,
            )
        )
        done.append(run(data, settings=stage, events=events))
    folder.write_settings(to_yaml(settings))  # over the second stage's
    first, second = done
    return dataclasses.replace(
        second,
        steps=first.steps + second.steps,
        tokens=first.tokens + second.tokens,
        seconds=first.seconds + second.seconds,
    )


def stages(settings: PretrainSettings, folder: Path) -> tuple[PretrainSettings, PretrainSettings]:
    """The settings of the two runs."""
    begin, rest = _shared(settings.budget, settings.then_share)
    place = str(folder / FIRST)
    objective = settings.objective.model_copy(update={"name": settings.then})
    first = {"then": None, "budget": begin, "out": place}
    second = {
        "then": None,
        "budget": rest,
        "out": str(folder),
        "start": place,
        "objective": objective,
    }
    return settings.model_copy(update=first), settings.model_copy(update=second)


def _shared(budget: Budget, share: float) -> tuple[Budget, Budget]:
    """What the first stage may do, and the second: whole steps and tokens."""
    rest = budget.amount * share
    if budget.unit in ("steps", "tokens"):
        rest = max(1.0, float(round(rest)))
        if budget.amount - rest < 1:
            raise InputError(f"budget {budget} has no room for two stages: give at least 2 steps")
    return Budget(budget.amount - rest, budget.unit), Budget(rest, budget.unit)


def refuse_stages(settings: PretrainSettings) -> None:
    """Raise InputError if the first stage's model could not do what the second needs."""
    name, then = settings.objective.name, settings.then
    assert then is not None, "there is a second stage"
    if then == name:
        raise InputError(f"then is {then}, as objective.name is: leave it out, for one long stage")
    start = None if settings.start == "scratch" else load_model(resolve(settings.start)).model
    able = set(settings.model.arrangements if start is None else (start.arrangement,))
    for part in name.split("+"):
        able &= OBJECTIVE_NEEDS[part]
    for part in then.split("+"):
        if not able & OBJECTIVE_NEEDS[part]:
            fits = [one for one in objectives_for(*able) if one != name]
            raise InputError(
                f"then {then}: {part} needs {' or '.join(sorted(OBJECTIVE_NEEDS[part]))}, but "
                f"after {name} the model is of kind {' or '.join(sorted(able))}, which can do "
                f"{', '.join(fits)}"
            )
    dropout = settings.model.dropout if start is None else start.config.dropout
    if "contrast" in then.split("+") and "image encoder" not in able and not dropout:
        fix = "write model.dropout: 0.1" if start is None else "take spans"
        raise InputError(
            f"then {then} tells two views of a text apart by dropout, but the model has none: {fix}"
        )

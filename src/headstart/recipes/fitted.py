"""A fine-tuned model by its folder, as Python hands it on: asked again and again, loaded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from headstart import recipes
from headstart.events import Silent
from headstart.recipes.given import Data, inputs_of, names_of, reading
from headstart.recipes.results import (
    FinetuneResult,
    Measured,
    Prediction,
    Predictions,
    Retrieved,
)

if TYPE_CHECKING:
    from headstart.recipes.pair_evaluating import PairModel
    from headstart.serve.author import Author
    from headstart.serve.predict import Predictor


@dataclass(frozen=True)
class Fitted:
    """A fine-tuned model by its folder. result: how it was made, where this process made it."""

    folder: str
    result: FinetuneResult | None = None

    @cached_property
    def predictor(self) -> Predictor | Author | PairModel:
        """The model, loaded from its folder when it is first asked for, and kept."""
        from headstart.recipes.answering import opened  # brings torch

        return opened(self.folder)

    def evaluate(
        self,
        data: Data,
        *,
        text: str | None = None,
        label: str | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Measured | Retrieved:
        """Score it on a labelled file, with a 95 % interval."""
        paths = [Path(name) for name in names_of(data) or ()]
        result = recipes.evaluate(
            self.predictor,
            paths,
            text=text,
            label=label,
            read=reading(settings),
            events=Silent(),
        )
        assert isinstance(result, Measured | Retrieved)
        return result

    def predict(
        self,
        inputs: Data,
        *,
        text: str | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> list[Prediction]:
        """Answers for texts or images, or those in files; text: the column of tables of texts."""
        result = recipes.predict(
            self.predictor, inputs_of(inputs), text=text, read=reading(settings), events=Silent()
        )
        assert isinstance(result, Predictions)
        return list(result.answers)

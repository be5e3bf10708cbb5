"""A model of texts or one of two towers: what the model is decides which recipe answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.config import AS_FOUND, ReadSettings
from headstart.errors import InputError
from headstart.evaluate.towers import Towers, has_towers
from headstart.events import Events, Silent
from headstart.families import resolve
from headstart.recipes import evaluating, predicting
from headstart.recipes.pair_evaluating import PairModel, evaluate_pairs, predict_pairs
from headstart.recipes.results import Measured, Predictions, Retrieved
from headstart.serve.author import Author
from headstart.serve.predict import Predictor

Model = str | Predictor | Author | PairModel | None


def opened(model: Model) -> Predictor | Author | PairModel:
    """The model, loaded unless it is already. Raises InputError if there is none.

    model: a run folder, a Hugging Face folder, "hf:NAME", or what was opened from one before.
    """
    if isinstance(model, Predictor | Author | PairModel):
        return model
    if not model:
        raise InputError("no model given: name a run folder, a Hugging Face folder, or hf:NAME")
    folder = resolve(model)  # once: it reads all files, to compare their digests
    if has_towers(folder):
        return PairModel(model, Towers.open(folder))
    return evaluating.opened(folder)


def evaluate(
    model: Model,
    data: Sequence[Path],
    *,
    text: str | None = None,
    label: str | None = None,
    read: ReadSettings = AS_FOUND,
    events: Events | None = None,
) -> Measured | Retrieved:
    """Score a model on data; see `evaluating` for texts and `pair_evaluating` for two towers."""
    listener, ready = events or Silent(), opened(model)
    if isinstance(ready, PairModel):
        return evaluate_pairs(ready, data, text=text, label=label, read=read, events=listener)
    return evaluating.evaluate(ready, data, text=text, label=label, read=read, events=listener)


def predict(
    model: Model,
    inputs: Sequence[str],
    *,
    text: str | None = None,
    read: ReadSettings = AS_FOUND,
    events: Events | None = None,
) -> Predictions:
    """Answer each input in order; see `predicting` for texts and `pair_evaluating` for images."""
    listener, ready = events or Silent(), opened(model)
    if isinstance(ready, PairModel):
        return predict_pairs(ready, inputs, read=read, events=listener)
    return predicting.predict(ready, inputs, text=text, read=read, events=listener)

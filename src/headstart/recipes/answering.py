"""A model of texts or one of two towers: what the model is decides which recipe answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.evaluate.towers import has_towers
from headstart.events import Events, Silent
from headstart.families import resolve
from headstart.recipes import evaluating, predicting
from headstart.recipes.pair_evaluating import evaluate_pairs, predict_pairs
from headstart.recipes.results import Measured, Predictions, Retrieved
from headstart.serve.predict import Predictor


def evaluate(
    model: str | Predictor | None,
    data: Sequence[Path],
    *,
    text: str | None = None,
    label: str | None = None,
    events: Events | None = None,
) -> Measured | Retrieved:
    """Score a model on data; see `evaluating` for texts and `pair_evaluating` for two towers.

    model: a run folder, a Hugging Face folder, "hf:NAME", or what was opened from one before.
    """
    if isinstance(model, str) and model and has_towers(resolve(model)):
        return evaluate_pairs(model, data, text=text, label=label, events=events or Silent())
    return evaluating.evaluate(model, data, text=text, label=label, events=events)


def predict(
    model: str | Predictor | None,
    inputs: Sequence[str],
    *,
    text: str | None = None,
    events: Events | None = None,
) -> Predictions:
    """Answer each input in order; see `predicting` for texts and `pair_evaluating` for images."""
    if isinstance(model, str) and model and has_towers(resolve(model)):
        return predict_pairs(model, inputs, events=events or Silent())
    return predicting.predict(model, inputs, text=text, events=events)

"""A model of texts or one of two towers: what the model is decides which recipe answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.evaluate.towers import has_towers
from headstart.events import Events, Silent
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
    return _as_pairs(model) or evaluating.opened(_as_texts(model))


def evaluate(
    model: Model,
    data: Sequence[Path],
    *,
    text: str | None = None,
    label: str | None = None,
    encoding: str | None = None,
    events: Events | None = None,
) -> Measured | Retrieved:
    """Score a model on data; see `evaluating` for texts and `pair_evaluating` for two towers."""
    listener, pairs = events or Silent(), _as_pairs(model)
    if pairs is not None:
        return evaluate_pairs(
            pairs, data, text=text, label=label, encoding=encoding, events=listener
        )
    return evaluating.evaluate(
        _as_texts(model), data, text=text, label=label, encoding=encoding, events=listener
    )


def predict(
    model: Model,
    inputs: Sequence[str],
    *,
    text: str | None = None,
    encoding: str | None = None,
    events: Events | None = None,
) -> Predictions:
    """Answer each input in order; see `predicting` for texts and `pair_evaluating` for images."""
    listener, pairs = events or Silent(), _as_pairs(model)
    if pairs is not None:
        return predict_pairs(pairs, inputs, encoding=encoding, events=listener)
    return predicting.predict(
        _as_texts(model), inputs, text=text, encoding=encoding, events=listener
    )


def _as_pairs(model: Model) -> PairModel | None:
    """The model if it has two towers."""
    if isinstance(model, PairModel):
        return model
    there = isinstance(model, str) and model != "" and has_towers(model)
    return PairModel.open(str(model)) if there else None


def _as_texts(model: Model) -> str | Predictor | Author | None:
    assert not isinstance(model, PairModel), "a model of texts"
    return model

"""Transfer: a start and labelled texts in, a model that answers out.

Methods: "probe" (a tuned linear head on frozen features), "lora", "partial" and "full"
(fine-tuning, `finetune.py`), and "auto": with few labels the probe, else whichever of probe and
full fine-tuning answers held-out labels better. Every choice is made inside the given labels; a
test file is unknown here. A choice made once can be passed on to the other seeds of a report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from headstart.batch import Sequences
from headstart.evaluate.deadline import Poll, never, part
from headstart.evaluate.features import FeatureCache
from headstart.evaluate.finetune import Watch, finetune, fit_probe, fresh_rates, write_head
from headstart.evaluate.fitted import Fitted, Start
from headstart.evaluate.metrics import default_metric, score
from headstart.evaluate.self_training import self_train
from headstart.evaluate.transfer_settings import METHODS, Method, TransferSettings
from headstart.families.blocks import shallower
from headstart.families.heads import SequenceHead, make_head
from headstart.tasks import LabelledTokens, mean_style, stratified

FEW_LABELS = 32  # up to here, auto is the probe
SPLIT_OFTEN = 300  # labels, below which a choice is made on three splits instead of one
CHOICE_SHARE = 0.25  # of the labels, held out to choose by
FRESH_PASSES = 3  # times the passes over the labels, tried for fresh weights at their best rate

__all__ = [
    "METHODS",
    "Candidate",
    "Choice",
    "Fitted",
    "Method",
    "Start",
    "TransferSettings",
    "choose",
    "depths",
    "feature_cache",
    "transfer",
]


@dataclass(frozen=True)
class Candidate:
    """A method with its settings."""

    method: Method
    settings: TransferSettings

    @property
    def name(self) -> str:
        """The method, with its rate and passes where these are its own."""
        if self.method == "probe" and self.settings.depth:
            return f"probe ({self.settings.depth} blocks)"
        if self.settings.lr is None:
            return self.method
        return f"{self.method} (lr {self.settings.lr:g}, {self.settings.passes:g} epochs)"


@dataclass(frozen=True)
class Choice:
    """The best candidate on held-out labels.

    scores: of all that were tried, by name. cost_s: wall time of choosing.
    """

    candidate: Candidate
    scores: Mapping[str, float]
    cost_s: float


def transfer(
    start: Start,
    examples: LabelledTokens,
    method: Method | Literal["auto"] = "auto",
    *,
    settings: TransferSettings | None = None,
    seed: int = 0,
    cache: FeatureCache | None = None,
    choice: Choice | None = None,
    unlabelled: Sequences | None = None,
    folder: Path | None = None,
    watch: Watch = lambda _: None,
    poll: Poll = never,
) -> Fitted:
    """Learn a task from labelled texts.

    cache: features of the start (`feature_cache`), shared by all cells of a report. choice: made
    before by `choose`; without one, "auto" chooses now, and so does a start with fresh weights,
    whose rate and number of passes are tuned. unlabelled: texts for self-training of a probe.
    folder: for checkpoints and history of fine-tuning. poll: as in `finetune`. The cost of choosing
    counts in `cost_s`.
    """
    began = time.perf_counter()
    settings = (settings or TransferSettings()).settled(len(examples))
    if choice is None and (method in ("auto", "probe") or not start.pretrained):
        options = candidates(start, examples, method, settings)
        choice = choose(start, examples, options, seed=seed, cache=cache, poll=poll)
    if choice is not None:
        method, settings = choice.candidate.method, choice.candidate.settings
    assert method != "auto", "a choice has been made"
    if method == "probe":
        fitted = _probe(
            start, examples, settings, seed=seed, cache=cache, unlabelled=unlabelled, poll=poll
        )
    else:
        fitted = finetune(
            start,
            examples,
            method,
            settings=settings,
            seed=seed,
            cache=cache,
            folder=folder,
            watch=watch,
            poll=poll,
        )
    return replace(fitted, cost_s=time.perf_counter() - began)


def feature_cache(start: Start, settings: TransferSettings) -> FeatureCache:
    """What computes the start's frozen features, each text once."""
    return FeatureCache(
        start.model,
        start.frame,
        layers=settings.layers,
        max_length=settings.max_length,
        max_windows=settings.max_windows,
        precision=settings.precision,
        device=settings.device,
        pooler=None if settings.head == "mean" else _family_head(start, outputs=1).pooler,
    )


def _family_head(start: Start, *, outputs: int) -> SequenceHead:
    head = make_head(start.model, "sequence", outputs=outputs, start=start.heads)
    assert isinstance(head, SequenceHead), "a sequence head was asked for"
    return head.float()


def depths(start: Start, settings: TransferSettings) -> list[int]:
    """After how many blocks a probe may read; 0: after all.

    What predicting pixels teaches is easiest to read out of inner blocks, so there is a choice for
    models of images; none where the class token is read. Source: Chen et al. 2020 (iGPT), figure 2.
    """
    layers = start.model.config.num_layers
    if start.model.config.patches is None or settings.head == "family":
        return [0]
    inner = {-(-3 * layers // 4), -(-layers // 2)} - {layers}
    return [0, *sorted(inner, reverse=True)]


def candidates(
    start: Start,
    examples: LabelledTokens,
    method: Method | Literal["auto"],
    settings: TransferSettings,
) -> list[Candidate]:
    """What there is to choose from, the cheapest first; a tie goes to the cheaper."""
    settings = settings.settled(len(examples))
    if not start.pretrained and method != "probe":
        chosen: Method = "full" if method == "auto" else method
        return [Candidate(chosen, option) for option in fresh_rates(settings)]
    probes = [Candidate("probe", replace(settings, depth=d)) for d in depths(start, settings)]
    if method == "probe" or (method == "auto" and len(examples) <= FEW_LABELS):
        return probes
    if method == "auto":
        return [*probes, Candidate("full", settings)]
    return [Candidate(method, settings)]


def choose(
    start: Start,
    examples: LabelledTokens,
    options: Sequence[Candidate],
    *,
    seed: int,
    cache: FeatureCache | None = None,
    poll: Poll = never,
) -> Choice:
    """The option that answers held-out labels best, by the task's default metric.

    A quarter is held out; three times over for a choice of method with fewer than 300 labels. Of a
    start with fresh weights the best rate is then tried with more passes. With one option, or too
    few labels to hold any out, the first is taken without trying. poll: called within trials.
    """
    began = time.perf_counter()
    often = 3 if start.pretrained and len(examples) < SPLIT_OFTEN else 1
    splits = [
        stratified(examples.labels, CHOICE_SHARE, seed=seed * 1000 + number)
        for number in range(often)
    ]
    if len(options) == 1 or any(len(held) < 4 or len(learn) < 4 for learn, held in splits):
        return Choice(options[0], {}, time.perf_counter() - began)
    tried, all_ = 0, len(options) + (0 if start.pretrained else 1)

    def trial(one: Candidate) -> float:
        nonlocal tried
        inner = part(poll, tried / all_, 1 / all_)
        tried += 1
        return _held_out_score(start, examples, one, splits, seed=seed, cache=cache, poll=inner)

    best, scores = best_of(options, trial, start)
    return Choice(best, scores, time.perf_counter() - began)


def best_of(
    options: Sequence[Candidate], trial: Callable[[Candidate], float], start: Start
) -> tuple[Candidate, dict[str, float]]:
    """The option of which a trial gives most, and all results by name; fresh weights are then
    tried with more passes.
    """
    scores = {one: trial(one) for one in options}
    best = max(scores, key=lambda one: scores[one])
    if not start.pretrained:
        longer = replace(best, settings=more_passes(start, best.settings))
        scores[longer] = trial(longer)
        best = max(scores, key=lambda one: scores[one])
    return best, {one.name: value for one, value in scores.items()}


def more_passes(start: Start, settings: TransferSettings) -> TransferSettings:
    """What fresh weights are tried with besides: three times the passes.

    Of images also three times the least steps, which are what few labels get: each pass sees them
    anew, so there is more to learn.
    """
    least = settings.min_steps
    if start.model.config.patches is not None:
        least *= FRESH_PASSES
    return replace(settings, epochs=settings.passes * FRESH_PASSES, min_steps=least)


def _held_out_score(
    start: Start,
    examples: LabelledTokens,
    option: Candidate,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    cache: FeatureCache | None,
    poll: Poll,
) -> float:
    """Mean score on the second part of each split after learning from the first."""
    metric = default_metric(examples.labels, kind=examples.kind)
    values = []
    for number, (learn, held) in enumerate(splits):
        fitted = transfer(
            start,
            examples.take(learn),
            option.method,
            settings=option.settings,
            seed=seed,
            cache=cache,
            choice=Choice(option, {}, 0.0),
            poll=part(poll, number / len(splits), 1 / len(splits)),
        )
        gold = examples.labels[held]
        answers = fitted.answers(examples.inputs.take(held), poll=part(poll, 0.0, 0.0))
        values.append(score(answers, gold, kind=examples.kind, metric=metric).value)
    return float(np.mean(values))


def _probe(
    start: Start,
    examples: LabelledTokens,
    settings: TransferSettings,
    *,
    seed: int,
    cache: FeatureCache | None,
    unlabelled: Sequences | None,
    poll: Poll,
) -> Fitted:
    if cache is None or cache.layers != settings.layers:
        cache = feature_cache(start, settings)
    body, cache = start.model, cache.through(settings.depth)
    features = cache.of(examples.inputs)
    linear = fit_probe(features, examples, seed=seed, balanced=settings.balanced, poll=poll)
    if settings.self_training and unlabelled is not None and examples.kind == "classes":
        linear = self_train(
            linear,
            features,
            examples.labels,
            cache.of(unlabelled),
            rounds=settings.self_training,
            seed=seed,
            balanced=settings.balanced,
        )
    head = None
    if settings.layers == "last":
        if settings.depth:
            body = shallower(body, settings.depth)
        if settings.head == "family":
            head = _family_head(start, outputs=examples.outputs)
        else:
            head = SequenceHead(body.config, mean_style(body), outputs=examples.outputs)
        write_head(head, linear)
        head.eval()
    return Fitted(
        model=body,
        head=head,
        kind=examples.kind,
        classes=examples.classes,
        frame=start.frame,
        method="probe",
        max_length=settings.max_length,
        max_windows=settings.max_windows,
        precision=settings.precision,
        settings={
            **settings.record("probe", seed=seed),
            "strength": linear.strength,
            "tuned": linear.tuned,
        },
        linear=linear,
        cache=cache,
    )

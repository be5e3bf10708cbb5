"""Fine-tuning: some or all weights of a copy of the start learn a labelled task.

In: a start, encoded labelled texts or images, settings. Out: a `Fitted`. The loop is
`train.Trainer`; which weights learn, and for how many steps, stands in `trainable.py`. With
`head_first` the classifier begins as the tuned linear probe, so that step 0 answers exactly as the
probe does; its scores are made smaller by `head_scale`. Images are seen anew in every epoch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from headstart.data.image_batches import Views
from headstart.data.loader import TokenBatches
from headstart.errors import InputError
from headstart.evaluate.baselines import LinearHead, fit_linear
from headstart.evaluate.deadline import Poll, never, part
from headstart.evaluate.features import FeatureCache
from headstart.evaluate.fitted import Fitted, Start, affine
from headstart.evaluate.metrics import score
from headstart.evaluate.trainable import (
    adapt,
    set_dropout,
    settle,
    stages,
    top_of,
    unfreeze_top,
)
from headstart.evaluate.transfer_settings import Method, TransferSettings
from headstart.families.heads import SequenceHead
from headstart.families.model import Model
from headstart.tasks import Classify, Examples, LabelledTokens, balanced_weights, stratified
from headstart.train import Learner, Probe, Source, StepRecord, Trainer, TrainSettings

LEAST_FOR_HOLDOUT = 40  # labels, below which none are held out
FRESH_RATES = (5e-4, 2e-3)
SETTLED = 10**9  # steps between scheduled copies of the state: none
SAVE_MINUTES = 1.0  # between checkpoints, where there is a folder for them

Watch = Callable[[StepRecord], None]


def finetune(
    start: Start,
    examples: LabelledTokens,
    method: Method,
    *,
    settings: TransferSettings,
    seed: int,
    cache: FeatureCache | None = None,
    folder: Path | None = None,
    watch: Watch = lambda _: None,
    poll: Poll = never,
) -> Fitted:
    """Fine-tune a copy of the start by "lora", "partial" or "full".

    cache: features of the start, for the probe that goes first. folder: for checkpoints and
    history: the same call goes on there after a kill, to the same bits. watch: hears of every step.
    poll: called while the probe is fitted, and at every step with seconds done and in all.
    Raises InputError if the settings do not go together.
    """
    began, settings = time.perf_counter(), settings.settled(len(examples))
    if method == "lora" and settings.unfreeze == "gradual":
        raise InputError("unfreeze=gradual is for the methods partial and full, not for lora")
    model = copy.deepcopy(start.model).float()
    parameters = sum(weight.numel() for weight in model.parameters())
    held, learnt = _split(examples, settings, seed)
    shift, scale = _units(learnt)
    task = _task(start, learnt, settings)
    heads = task.heads(model, seed=seed, start=start.heads)
    head = heads["sequence"]
    assert isinstance(head, SequenceHead), "the task's head"
    if settings.head_first and start.pretrained:
        probe_first(
            start,
            learnt,
            head,
            settings=settings,
            seed=seed,
            cache=cache,
            poll=part(poll, 0.0, 0.0),  # how long it takes says nothing of the steps
        )
        if examples.kind != "number":
            _rescale(head, 0.0, settings.head_scale)
        _rescale(head, -shift / scale, 1 / scale)
    head.dropout = settings.dropout
    set_dropout(model, [model.stack], settings.dropout, attention=0.0)
    if method == "lora":
        adapt(model, [model.stack], settings, seed=seed)
    window = start.frame.room(model.config.max_positions, settings.max_length)
    batches = TokenBatches(
        Examples(
            learnt.inputs,
            window=window,
            labels=_standardised(learnt, shift, scale),
            max_windows=settings.max_windows,
        ),
        tokens_per_batch=settings.tokens_per_batch,
        seed=seed,
    )
    patches = model.config.patches
    source: Source = batches
    if patches is not None:
        source = Views(batches, side=patches.image_size, seed=seed, how=settings.views)
    probes = _probes(start, held, settings, shift=shift, scale=scale)
    learner = Learner(model, heads)
    rate = settings.rate(method, parameters=parameters, images=patches is not None)
    planned = stages(method, settings, blocks=len(model.stack.blocks), source=batches)
    done, all_, first = 0, sum(stage.steps for stage in planned), began
    for number, stage in enumerate(planned):
        if method != "lora":
            unfreeze_top(learner, top_of(method, settings, stage))
        trainer = Trainer(
            learner,
            task,
            source,
            train_settings(settings, rate=rate, steps=stage.steps, seed=seed),
            folder=None if folder is None else folder / f"stage-{number:03d}",
            probes=probes,
        )
        for record in trainer.steps():
            watch(record)
            done += 1
            now = time.perf_counter()
            if done == 1:
                first = now  # this step was slower than the others will be
            pace = (now - first) / max(1, done - 1)
            poll(now - began, now - began + pace * (all_ - done))
    head.dropout = model.config.dropout
    settle(model, [model.stack])
    _rescale(head, shift, scale)
    return Fitted(
        model=model.eval(),
        head=head.eval(),
        kind=examples.kind,
        classes=examples.classes,
        frame=start.frame,
        method=method,
        max_length=settings.max_length,
        max_windows=settings.max_windows,
        precision=settings.precision,
        cost_s=time.perf_counter() - began,
        settings={**settings.record(method, seed=seed), "lr": rate},
    )


def probe_first(
    start: Start,
    examples: LabelledTokens,
    head: SequenceHead,
    *,
    settings: TransferSettings,
    seed: int,
    cache: FeatureCache | None,
    poll: Poll = never,
) -> LinearHead:
    """Fit a linear probe on what the head's classifier sees, and write it into the classifier.

    The head then answers as the probe does. Source: Kumar et al. 2022, section 3.4 (LP-FT).
    """
    if cache is None or cache.layers != "last" or settings.head == "family":
        cache = FeatureCache(
            start.model,
            start.frame,
            max_length=settings.max_length,
            max_windows=settings.max_windows,
            precision=settings.precision,
            device=settings.device,
            pooler=copy.deepcopy(head.pooler),
        )
    features = cache.of(examples.inputs)
    linear = fit_probe(features, examples, seed=seed, balanced=settings.balanced, poll=poll)
    write_head(head, linear)
    return linear


def fit_probe(
    features: np.ndarray,
    examples: LabelledTokens,
    *,
    seed: int,
    balanced: bool,
    poll: Poll = never,
) -> LinearHead:
    """The library's one linear head, on features of these texts."""
    return fit_linear(
        features.astype(np.float64),
        examples.labels,
        kind=examples.kind,
        seed=seed,
        centre=True,
        balanced=balanced,
        poll=poll,
    )


def write_head(head: SequenceHead, linear: LinearHead) -> None:
    """Give a classifier the weights of a linear head on the vectors that it sees."""
    weight, bias = affine(linear, outputs=head.classifier.out_features)
    with torch.no_grad():
        head.classifier.weight.copy_(torch.from_numpy(weight))
        if head.classifier.bias is not None:
            head.classifier.bias.copy_(torch.from_numpy(bias))


def _task(start: Start, examples: LabelledTokens, settings: TransferSettings) -> Classify:
    outputs = examples.outputs
    weights = None
    if settings.balanced:
        weights = balanced_weights(examples.labels, kind=examples.kind, outputs=outputs)
    return Classify(
        examples.kind,
        outputs=outputs,
        frame=start.frame,
        weights=weights,
        head=settings.head,
    )


def _split(
    examples: LabelledTokens, settings: TransferSettings, seed: int
) -> tuple[LabelledTokens | None, LabelledTokens]:
    if not settings.holdout or len(examples) < LEAST_FOR_HOLDOUT:
        return None, examples
    learn, held = stratified(examples.labels, settings.holdout, seed=seed)
    if not len(held):
        return None, examples
    return examples.take(held), examples.take(learn)


def _probes(
    start: Start,
    held: LabelledTokens | None,
    settings: TransferSettings,
    *,
    shift: float,
    scale: float,
) -> list[Probe]:
    if held is None:
        return []

    def measure(learner: Learner, poll: Callable[[], None]) -> float:
        model, head = learner.model, learner.heads["sequence"]
        assert isinstance(model, Model), "a learner of this module holds a family's model"
        assert isinstance(head, SequenceHead), "the task's head"
        fitted = Fitted(
            model=model,
            head=copy.deepcopy(head).float(),
            kind=held.kind,
            classes=held.classes,
            frame=start.frame,
            method="check",
            max_length=settings.max_length,
            max_windows=settings.max_windows,
            precision="fp32",
        )
        raw = fitted.predict(held.inputs, poll=poll) * scale + shift
        return score(fitted.task.answers(raw), held.labels, kind=held.kind).value

    return [Probe("held out", measure)]


def train_settings(
    settings: TransferSettings, *, rate: float, steps: int, seed: int
) -> TrainSettings:
    """What the trainer is told."""
    return TrainSettings(
        budget=f"{steps} steps",
        seed=seed,
        lr=rate,
        weight_decay=settings.weight_decay,
        beta2=0.98,
        warmup=settings.warmup,
        decay=1.0 - settings.warmup,
        layer_decay=settings.layer_decay,
        freeze=settings.freeze,
        precision=settings.precision,
        device=settings.device,
        threads=settings.threads,
        save_every=SETTLED,
        save_minutes=SAVE_MINUTES,
        keep=1,
        patience=settings.patience,
    )


def _units(examples: LabelledTokens) -> tuple[float, float]:
    """Mean and standard deviation of numbers, so that the loss has one scale for every unit."""
    if examples.kind != "number":
        return 0.0, 1.0
    scale = float(examples.labels.std())
    return float(examples.labels.mean()), scale if scale > 1e-12 else 1.0


def _standardised(examples: LabelledTokens, shift: float, scale: float) -> np.ndarray:
    if examples.kind != "number":
        return examples.labels
    return np.asarray((examples.labels - shift) / scale, dtype=np.float32)


def _rescale(head: SequenceHead, shift: float, scale: float) -> None:
    """Make the head answer y * scale + shift where it answered y."""
    if (shift, scale) == (0.0, 1.0):
        return
    with torch.no_grad():
        head.classifier.weight.mul_(scale)
        if head.classifier.bias is not None:
            head.classifier.bias.mul_(scale).add_(shift)


def fresh_rates(settings: TransferSettings) -> list[TransferSettings]:
    """Settings for fresh weights at each rate to choose from.

    What protects pretrained weights would keep these from learning, and is left out.
    """
    fresh = replace(settings, head_first=False, layer_decay=1.0, freeze=(), unfreeze="at_once")
    return [replace(fresh, lr=rate) for rate in FRESH_RATES]

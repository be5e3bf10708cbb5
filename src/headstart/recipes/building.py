"""From settings to the pieces of a run: vocabulary, network, objective, training settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from headstart.abilities import families_for
from headstart.batch import Sequences
from headstart.config import (
    OBJECTIVE_NEEDS,
    FinetuneSettings,
    MachineSettings,
    ModelSettings,
    PretrainSettings,
    ReportSettings,
)
from headstart.data.latent import document_frequency, importance, token_vectors
from headstart.data.loader import (
    Chosen,
    Documents,
    Stretches,
    TokenBatches,
    Windows,
    permutation,
)
from headstart.data.store import TokenStore
from headstart.errors import InputError
from headstart.evaluate.transfer_settings import TransferSettings as HowToTransfer
from headstart.families import Loaded, Model, find
from headstart.objectives import (
    BagOfWords,
    CausalLanguage,
    Contrast,
    HybridLanguage,
    MaskedLanguage,
    NextSentence,
    Part,
    Pretraining,
    SpanCorruption,
    Vocabulary,
)
from headstart.train import TrainSettings

HELD_OUT = 0.01  # share of the corpus on which the final loss is measured
MOST_HELD_OUT = 200  # stretches of text
# for Muon: weights that are several matrices, if they are of one height
LATENT_SCALE = 2.0  # of latent token vectors beside the usual noise of 0.02


def window_length(max_length: int, vocabulary: Vocabulary, *, extra: int = 0) -> int:
    """Ordinary tokens of a window, so that with its special tokens it has at most max_length.

    extra: special tokens beside those at its ends.
    """
    around = (vocabulary.cls is not None) + (vocabulary.sep is not None)
    return max_length - around - extra


def fresh_model(
    settings: ModelSettings,
    *,
    vocab_size: int,
    max_length: int,
    seed: int,
    causal: bool | None = None,
) -> Model:
    """A network of the chosen family and size with fresh weights.

    causal: see `Family.build`.
    """
    layers, hidden, heads, _ = settings.shape()
    return find(settings.family).build(
        num_layers=layers,
        hidden_size=hidden,
        num_heads=heads,
        intermediate_size=settings.intermediate_size,
        vocab_size=vocab_size,
        max_positions=max_length,
        dropout=settings.dropout,
        causal=causal,
        seed=seed,
    )


def first_model(settings: PretrainSettings, start: Loaded | None, *, vocab_size: int) -> Model:
    """What pretraining begins with: the model of a checkpoint, or a fresh one.

    Raises InputError if texts may be longer than the checkpoint's model can take.
    """
    if start is not None:
        refuse_length(settings, settings.start, start.model)
        return start.model
    return fresh_model(
        settings.model,
        vocab_size=vocab_size,
        max_length=settings.data.max_length,
        seed=settings.seed,
        causal=True if "causal" in settings.objective.name.split("+") else None,
    )


def refuse_objective(settings: PretrainSettings, model: Model) -> None:
    """Raise InputError if the model that a run starts from cannot do a part of the objective."""
    for part in settings.objective.name.split("+"):
        needs = OBJECTIVE_NEEDS[part]
        if model.arrangement not in needs:
            raise InputError(
                f"objective.name {settings.objective.name}: {part} needs "
                f"{' or '.join(sorted(needs))} ({', '.join(families_for(part))}), but "
                f"{settings.start} holds a model of family {model.family} ({model.arrangement})"
            )


def refuse_length(settings: PretrainSettings, start: str, model: Model) -> None:
    """Raise InputError if texts may be longer than the model that a run starts from can take."""
    if settings.data.max_length > model.config.max_positions:
        raise InputError(
            f"data.max_length is {settings.data.max_length}, but {start} has "
            f"{model.config.max_positions} positions: lower data.max_length to that"
        )


def make_objective(
    settings: PretrainSettings,
    vocabulary: Vocabulary,
    model: Model,
    weight: Callable[[], np.ndarray],
) -> Pretraining:
    """The objective that the settings name, for this model.

    weight: gives the importance of tokens, asked for only if needed.
    Raises InputError if the model cannot do it.
    """
    chosen = settings.objective
    masked = MaskedLanguage(
        vocabulary,
        rate=chosen.rate,
        rate_end=chosen.rate_end,
        mask_share=chosen.mask_share,
        random_share=chosen.random_share,
        whole_word=chosen.whole_word,
        weight=chosen.mlm_weight,
    )
    temperature = chosen.temperature or 0.05
    makers: dict[str, Callable[[], Part]] = {
        "mlm": lambda: masked,
        "nsp": NextSentence,
        "causal": lambda: CausalLanguage(vocabulary),
        "hybrid": lambda: HybridLanguage(masked, chosen.causal_share),
        "bow": lambda: BagOfWords(weight()),
        "spans": lambda: Contrast("spans", temperature),
        "contrast": lambda: Contrast("dropout", temperature),
        "span_corruption": lambda: SpanCorruption(
            vocabulary,
            rate=chosen.rate,
            rate_end=chosen.rate_end,
            span_length=chosen.span_length,
            start=model.style.start,
        ),
    }
    objective = Pretraining(
        [makers[name]() for name in chosen.name.split("+")],
        vocabulary,
        segments=model.config.segments > 1,
    )
    objective.refuse(model)
    return objective


def make_batches(
    settings: PretrainSettings,
    documents: Documents | Sequences,
    vocabulary: Vocabulary,
    objective: Pretraining,
) -> tuple[TokenBatches, TokenBatches]:
    """Batches to train on, and batches of documents held out of them.

    Raises InputError if there is too little text.
    """
    together = bool({"bow", "spans"} & set(settings.objective.name.split("+")))
    windows = Windows(
        documents,
        length=window_length(settings.data.max_length, vocabulary, extra=objective.extra),
        pieces=2 if together else 1,
    )
    source = Stretches(windows) if together else windows
    count = len(source)
    if count < 2:
        raise InputError(
            "the corpus has less than two usable stretches of text; give more or longer texts"
        )
    apart = max(1, min(MOST_HELD_OUT, round(HELD_OUT * count)))
    order = permutation(count, settings.seed, 1)
    learn, held = (
        TokenBatches(
            Chosen(source, numbers),
            tokens_per_batch=settings.data.tokens_per_batch,
            seed=settings.seed,
        )
        for numbers in (np.sort(order[apart:]), np.sort(order[:apart]))
    )
    return learn, held


def start_from_corpus(model: Model, store: TokenStore, weight: np.ndarray, *, seed: int) -> None:
    """Add the corpus' latent vectors to the token table, in place."""
    width = model.config.hidden_size
    vectors = token_vectors(store.tokens, store.offsets, weight, width=width, seed=seed)
    with torch.no_grad():
        table = model.embed.tokens.weight
        table += LATENT_SCALE * 0.02 * torch.from_numpy(vectors).to(table)


def token_importance(store: TokenStore, vocabulary: Vocabulary) -> np.ndarray:
    """Inverse document frequency of every token in the corpus."""
    frequency = document_frequency(store.tokens, store.offsets, size=vocabulary.size)
    return importance(frequency, len(store), special=vocabulary.special)


def train_settings(settings: PretrainSettings, model: Model) -> TrainSettings:
    """What the trainer is told of a pretraining run."""
    o, schedule = settings.optimizer, settings.schedule
    made = TrainSettings(
        budget=str(settings.budget),
        seed=settings.seed,
        optimizer=o.name,
        lr=o.lr,
        muon_lr=o.muon_lr,
        weight_decay=o.weight_decay,
        beta1=o.beta1,
        beta2=o.beta2,
        clip_norm=o.clip_norm,
        warmup=schedule.warmup,
        decay=schedule.decay,
        save_minutes=settings.save_minutes,
        keep=settings.keep,
        fused=_stacked(model),
    )
    return on_machine(made, settings.machine)


def _stacked(model: Model) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Which weights are several matrices, each with a factor of Muon's steps.

    Scores that are not divided by the root of the heads' width (T5) change so many times faster:
    there queries take smaller steps. T5's own optimiser, Adafactor, makes steps as small as the
    weights are; Muon's know nothing of that. The fourth root is enough: toys that never looked at
    what stands around a gap, one in four, then do, and nearly all learn as fast as before.
    """
    config = model.config
    query = 1.0 if config.scaled_attention else config.head_dim**-0.25
    stacks = (
        ("*attention.qkv.weight", (query, 1.0, 1.0), config.kv_heads == config.num_heads),
        ("*mlp.up.weight", (1.0, 1.0), config.gated),
        ("*cross.q.weight", (query,), config.decoder_layers > 0),
        ("*cross.kv.weight", (1.0, 1.0), config.decoder_layers > 0),
    )
    return tuple((glob, factors) for glob, factors, there in stacks if there)


def transfer_settings(settings: FinetuneSettings | ReportSettings) -> HowToTransfer:
    """What a transfer is told."""
    chosen, images, machine = settings.transfer, settings.images, settings.machine
    return HowToTransfer(
        lr=chosen.lr,
        epochs=None if chosen.epochs is None else float(chosen.epochs),
        min_steps=chosen.min_steps,
        max_steps=chosen.max_steps,
        tokens_per_batch=chosen.tokens_per_batch,
        weight_decay=chosen.weight_decay,
        warmup=chosen.warmup,
        layer_decay=chosen.layer_decay,
        dropout=chosen.dropout,
        head_scale=chosen.head_scale,
        unfreeze=chosen.unfreeze,
        top_layers=chosen.layers,
        rank=chosen.rank,
        balanced=chosen.balanced,
        holdout=chosen.holdout,
        patience=chosen.patience,
        self_training=chosen.self_training,
        head=chosen.head,
        crop=chosen.crop,
        mirror=images.mirror,
        jitter=images.jitter,
        max_length=settings.data.max_length,
        max_windows=chosen.max_windows,
        precision=machine.precision,
        device=machine.device,
        threads=machine.threads or 0,
    )


def on_machine(settings: TrainSettings, machine: MachineSettings) -> TrainSettings:
    """The same training on the chosen device, precision and threads."""
    return replace(
        settings,
        device=machine.device,
        precision=machine.precision,
        threads=machine.threads or 0,
    )

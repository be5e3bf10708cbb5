"""What a pretraining run on text would do, before it does it: `headstart plan`.

Reads the corpus once (the first 64 MB in full, the rest by size), trains a tokenizer on its
beginning, times some steps of the very network for about three seconds, and forecasts steps,
passes, time, memory and disk from that. Nothing is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from headstart.budget import format_seconds
from headstart.config import ModelSettings, PretrainSettings
from headstart.data.files import list_files, read_documents
from headstart.data.record import Document, Problem
from headstart.data.text import encode, train_tokenizer
from headstart.errors import InputError
from headstart.events import Events, Silent
from headstart.families import find
from headstart.recipes.building import (
    fresh_model,
    make_batches,
    make_objective,
    on_machine,
    train_settings,
)
from headstart.recipes.machine import free_memory_gib, matrix_gflops
from headstart.recipes.results import Fact, Json, to_json
from headstart.tasks import vocabulary_of
from headstart.train import Learner, TrainSettings
from headstart.train.plan import StepTime, time_step
from headstart.train.precision import Precision, choose_precision
from headstart.words import Phrase, say

READ_BYTES = 64_000_000
SAMPLE_CHARACTERS = 1_000_000  # of the corpus, for the tokenizer and the steps that are timed
MEASURE_S = 3.0
GIB = 2.0**30
# Share of the matrix speed that whole training steps reach at least: how large a step can be timed.
EFFICIENCY = 0.2
PROGRAM_GIB = 0.6  # interpreter and libraries
STATE_BYTES = 16  # a parameter in training: bf16 weight and gradient, fp32 master, two moments
SAVED_BYTES = 12  # a parameter in a checkpoint


@dataclass(frozen=True)
class CorpusSize:
    """How much text there is.

    tokens: from words and Chinese characters, corrected by a tokenizer in `plan`.
    """

    files: int
    documents: int
    set_aside: int
    rejected: int
    tokens: int


@dataclass(frozen=True)
class Plan:
    """The forecast of one pretraining run.

    measured: what its time is calculated from. images: their size, patch and tokens, if these are
    images; their numbers are then said instead of those of tokens.
    """

    corpus: CorpusSize
    family: str
    size: str
    num_layers: int
    hidden_size: int
    parameters: int
    vocab_size: int
    steps: int
    tokens_per_batch: int
    epochs: float
    seconds: float
    tokens_per_s: float
    machine: str
    memory_gib: float
    free_memory_gib: float
    disk_gib: float
    measured: StepTime
    images: tuple[int, int, int] = (0, 0, 0)

    def lines(self) -> list[Phrase]:
        """The plan for people."""
        texts, (side, patch, tokens) = self.corpus, self.images
        kind, each = ("_images", tokens) if tokens else ("", 1)
        lines = [
            say(
                f"plan_rows{kind}",
                accepted=texts.documents,
                files=texts.files,
                set_aside=texts.set_aside,
                rejected=texts.rejected,
            ),
            say(
                "plan_image_model" if tokens else "plan_model",
                family=self.family,
                size=self.size,
                layers=self.num_layers,
                hidden=self.hidden_size,
                parameters=self.parameters / 1e6,
                vocabulary=self.vocab_size,
                side=side,
                patch=patch,
            ),
            say(
                f"plan_steps{kind}",
                steps=self.steps,
                tokens=round(self.tokens_per_batch / each),
                epochs=self.epochs,
            ),
            say(
                f"plan_time{kind}",
                time=format_seconds(round(self.seconds)),
                speed=self.tokens_per_s / each,
                machine=self.machine,
            ),
            say(
                f"plan_measured{kind}",
                count=self.measured.count,
                tokens=self.measured.tokens / each,
                gradient=self.measured.gradient_s,
                update=self.measured.update_s,
            ),
            say(
                "plan_memory",
                need=self.memory_gib,
                have=self.free_memory_gib,
                disk=self.disk_gib,
            ),
        ]
        if self.epochs > 200:
            lines.append(say("plan_short", epochs=self.epochs))
        elif self.epochs < 1:
            lines.append(say("plan_few"))
        return lines

    def facts(self) -> Sequence[Fact]:
        """The lines, without labels."""
        return [("", line) for line in self.lines()]

    def record(self) -> Mapping[str, Json]:
        """Everything, for machines."""
        json = to_json(self)
        assert isinstance(json, Mapping), "a plan is a dataclass"
        return json

    def next_commands(self) -> Sequence[str]:
        """Nothing: the command to type is the one just typed, with another verb."""
        return []


def plan_texts(
    data: Sequence[Path], *, settings: PretrainSettings, events: Events | None = None
) -> Plan:
    """Forecast a pretraining run on text. Raises InputError if the data holds none."""
    listener = events or Silent()
    corpus = measure_corpus(data, settings=settings, events=listener)
    texts = first_texts(data, settings=settings)
    if not texts:
        raise InputError(f"{', '.join(map(str, data))}: there is no text to pretrain on")
    listener.progress("calibrate", 0, 0)
    measured, tokens = measure_steps(texts, settings=settings)
    listener.progress("calibrate", 1, 1)
    guessed = sum(estimate_tokens(text) for text in texts)
    corpus = replace(corpus, tokens=round(corpus.tokens * tokens / max(1, guessed)))
    return forecast(
        corpus, settings=settings, measured=measured, machine=machine_in_words(settings)
    )


def first_texts(data: Sequence[Path], *, settings: PretrainSettings) -> list[str]:
    """The first texts of the corpus, of about a million characters."""
    texts: list[str] = []
    left = SAMPLE_CHARACTERS
    for found in read_documents(data, text=settings.data.text, encoding=settings.data.encoding):
        if isinstance(found, Document):
            texts.append(found.text[:left])
            left -= len(found.text)
        if left <= 0:
            break
    return texts


def measure_steps(texts: Sequence[str], *, settings: PretrainSettings) -> tuple[StepTime, int]:
    """Time steps of the network on these texts; also the number of their tokens.

    Where a whole step would take too long, smaller ones are timed.
    """
    tokenizer = train_tokenizer(
        texts,
        kind=settings.data.tokenizer,
        vocab_size=settings.data.vocab_size,
        lowercase=settings.data.lowercase,
        style=find(settings.model.family).special_tokens,
    )
    vocabulary, tokens = vocabulary_of(tokenizer), encode(tokenizer, texts)
    causal = True if "causal" in settings.objective.name.split("+") else None
    model = fresh_model(
        settings.model,
        vocab_size=vocabulary.size,
        max_length=settings.data.max_length,
        seed=settings.seed,
        causal=causal,
    )
    weight = np.ones(vocabulary.size)
    weight[list(vocabulary.special)] = 0
    objective = make_objective(settings, vocabulary, model, lambda: weight)
    small = _smaller(settings)
    source, _ = make_batches(small, tokens, vocabulary, objective)
    learner = Learner(model, objective.heads(model, seed=settings.seed))
    training = train_settings(small, model)
    measured = time_step(learner, objective, source, training, within_s=MEASURE_S)
    return measured, len(tokens.tokens)


def _smaller(settings: PretrainSettings) -> PretrainSettings:
    """Settings of a step that is small enough for four of them in the time there is, on a CPU."""
    here = computing_on(settings)
    if here.device.type != "cpu":
        return settings
    kind: Literal["bf16", "fp32"] = "bf16" if here.dtype.itemsize == 2 else "fp32"
    speed = matrix_gflops(kind, size=512, seconds=0.1) * 1e9 * EFFICIENCY
    fits = int(MEASURE_S / 4 * speed / flops_per_token(settings))
    size = max(settings.data.max_length, min(settings.data.tokens_per_batch, fits))
    data = settings.data.model_copy(update={"tokens_per_batch": size})
    return settings.model_copy(update={"data": data})


def flops_per_token(settings: PretrainSettings) -> float:
    """Floating-point operations of training on one token, forwards and backwards."""
    layers, hidden, _, _ = settings.model.shape()
    scores = _rate(settings) * settings.data.vocab_size * hidden
    mixing = 12 * layers * settings.data.max_length * hidden
    return 6 * (body_parameters(settings.model) + scores) + mixing


def _rate(settings: PretrainSettings) -> float:
    """Share of the tokens that are predicted."""
    causal = "causal" in settings.objective.name.split("+")
    return 1.0 if causal else settings.objective.rate


def forecast(
    corpus: CorpusSize, *, settings: PretrainSettings, measured: StepTime, machine: str
) -> Plan:
    """The arithmetic of the plan, from the size of the corpus and the time of a step."""
    layers, hidden, _, inner = settings.model.shape()
    vocabulary, batch = settings.data.vocab_size, settings.data.tokens_per_batch
    tokens_per_s = batch / measured.step_s(batch)
    tokens = budgeted_tokens(settings, corpus, tokens_per_s, batch=batch)
    parameters = body_parameters(settings.model) + vocabulary * hidden
    activations = 2 * batch * layers * (16 * hidden + 4 * inner)
    logits = 10 * _rate(settings) * batch * vocabulary
    saved = SAVED_BYTES * parameters * (settings.keep + 1) + 4 * parameters + 2 * corpus.tokens
    return Plan(
        corpus=corpus,
        family=settings.model.family,
        size=settings.model.size,
        num_layers=layers,
        hidden_size=hidden,
        parameters=parameters,
        vocab_size=vocabulary,
        steps=max(1, round(tokens / batch)),
        tokens_per_batch=batch,
        epochs=tokens / max(1, corpus.tokens),
        seconds=tokens / tokens_per_s,
        tokens_per_s=tokens_per_s,
        machine=machine,
        memory_gib=PROGRAM_GIB + (STATE_BYTES * parameters + activations + logits) / GIB,
        free_memory_gib=free_memory_gib() or 0.0,
        disk_gib=saved / GIB,
        measured=measured,
    )


def body_parameters(model: ModelSettings) -> int:
    """Parameters of the blocks: four square matrices of attention, and the MLP's two or three.

    An encoder-decoder has the blocks twice, and attention once more in those of the decoder.
    """
    layers, hidden, _, inner = model.shape()
    attention, mlp = 4 * hidden * hidden, (3 if model.gated else 2) * hidden * inner
    if model.arrangement == "encoder-decoder":
        return layers * (3 * attention + 2 * mlp)
    return layers * (attention + mlp)


def measure_corpus(
    data: Sequence[Path], *, settings: PretrainSettings, events: Events
) -> CorpusSize:
    """Count texts and estimate tokens; beyond the first 64 MB by the size of the files."""
    files = list_files(data)
    total = sum(file.stat().st_size for file in files)
    read = documents = set_aside = rejected = tokens = 0
    for file in files:
        if read >= READ_BYTES:
            break
        for found in read_documents(
            [file], text=settings.data.text, encoding=settings.data.encoding
        ):
            if isinstance(found, Document):
                documents += 1
                tokens += estimate_tokens(found.text)
            elif isinstance(found, Problem):
                set_aside += found.outcome == "quarantine"
                rejected += found.outcome == "reject"
        read += file.stat().st_size
        events.progress("read", read, total)
    scale = total / read if read else 1.0
    return CorpusSize(
        len(files), round(documents * scale), set_aside, rejected, round(tokens * scale)
    )


def estimate_tokens(text: str) -> int:
    """About how many tokens a trained vocabulary of 8 k makes of a text.

    1.3 per word, and one per Chinese, Japanese or Korean character.
    """
    wide = sum("\u3040" <= character <= "\u9fff" for character in text)
    return round(1.3 * len(text.split())) + wide if wide < len(text) / 4 else wide


def budgeted_tokens(
    settings: PretrainSettings, corpus: CorpusSize, tokens_per_s: float, *, batch: int
) -> float:
    """Tokens that the budget allows, where a step has `batch` of them."""
    budget = settings.budget
    return {
        "seconds": budget.amount * tokens_per_s,
        "steps": budget.amount * batch,
        "tokens": budget.amount,
        "epochs": budget.amount * corpus.tokens,
    }[budget.unit]


def computing_on(settings: PretrainSettings) -> Precision:
    """Device and number format."""
    return choose_precision(on_machine(TrainSettings(), settings.machine))


def machine_in_words(settings: PretrainSettings) -> str:
    """Where it is computed, in words: cpu, bfloat16, 2 threads."""
    here = computing_on(settings)
    kind = str(here.dtype).removeprefix("torch.")
    return f"{here.device}, {kind}, {here.threads} threads"

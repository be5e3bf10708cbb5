"""`headstart plan`: what a pretraining run would do, before it does it.

Reads the corpus once (the first 64 MB in full, the rest by size), times matrix products for a
moment, and forecasts steps, passes, time, memory and disk. A rough forecast: `pretrain` itself
times real steps before it fixes their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headstart.budget import format_seconds
from headstart.config import ModelSettings, PretrainSettings
from headstart.data.files import list_files, read_documents
from headstart.data.record import Document, Problem
from headstart.events import Events, Silent
from headstart.recipes.machine import cpu_bf16, free_memory_gib, matrix_gflops
from headstart.recipes.results import Fact, Json, to_json
from headstart.words import Phrase, say

READ_BYTES = 64_000_000
GIB = 2.0**30
# Share of the matrix speed that whole training steps reach; the rest is memory traffic.
EFFICIENCY = {"bf16": 0.25, "fp32": 0.45}
PROGRAM_GIB = 0.6  # interpreter and libraries
STATE_BYTES = 16  # a parameter in training: bf16 weight and gradient, fp32 master, two moments
SAVED_BYTES = 12  # a parameter in a checkpoint


@dataclass(frozen=True)
class CorpusSize:
    """How much text there is. tokens is estimated from words and Chinese characters."""

    files: int
    documents: int
    set_aside: int
    rejected: int
    tokens: int


@dataclass(frozen=True)
class Plan:
    """The forecast of one pretraining run."""

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

    def lines(self) -> list[Phrase]:
        """The plan for people."""
        texts = self.corpus
        lines = [
            say(
                "plan_rows",
                accepted=texts.documents,
                files=texts.files,
                set_aside=texts.set_aside,
                rejected=texts.rejected,
            ),
            say(
                "plan_model",
                family=self.family,
                size=self.size,
                layers=self.num_layers,
                hidden=self.hidden_size,
                parameters=self.parameters / 1e6,
                vocabulary=self.vocab_size,
            ),
            say("plan_steps", steps=self.steps, tokens=self.tokens_per_batch, epochs=self.epochs),
            say(
                "plan_time",
                time=format_seconds(round(self.seconds)),
                speed=self.tokens_per_s,
                machine=self.machine,
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


def plan(data: Sequence[Path], *, settings: PretrainSettings, events: Events | None = None) -> Plan:
    """Forecast a pretraining run. Raises InputError if the data holds no text."""
    listener = events or Silent()
    corpus = measure_corpus(data, settings=settings, events=listener)
    precision = _precision(settings)
    speed = matrix_gflops(precision, size=1024, seconds=0.5) * 1e9 * EFFICIENCY[precision]
    return forecast(corpus, settings=settings, flops_per_s=speed, machine=f"cpu, {precision}")


def forecast(
    corpus: CorpusSize, *, settings: PretrainSettings, flops_per_s: float, machine: str
) -> Plan:
    """The arithmetic of the plan, from the size of the corpus and the speed of the machine."""
    layers, hidden, _, inner = settings.model.shape()
    vocabulary = settings.data.vocab_size
    body = body_parameters(settings.model)
    causal = "causal" in settings.objective.name.split("+")
    rate = 1.0 if causal else settings.objective.rate
    per_token = 6 * (body + rate * vocabulary * hidden)
    per_token += 12 * layers * settings.data.max_length * hidden
    tokens_per_s = flops_per_s / per_token
    tokens = _tokens_of(settings, corpus, tokens_per_s)
    batch = settings.data.tokens_per_batch
    parameters = body + vocabulary * hidden
    activations = 2 * batch * layers * (16 * hidden + 4 * inner)
    logits = 10 * rate * batch * vocabulary
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
    )


def body_parameters(model: ModelSettings) -> int:
    """Parameters of the blocks: four square matrices of attention, and the MLP's two or three."""
    layers, hidden, _, inner = model.shape()
    return layers * (4 * hidden * hidden + (3 if model.gated else 2) * hidden * inner)


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


def _tokens_of(settings: PretrainSettings, corpus: CorpusSize, tokens_per_s: float) -> float:
    budget = settings.budget
    return {
        "seconds": budget.amount * tokens_per_s,
        "steps": budget.amount * settings.data.tokens_per_batch,
        "tokens": budget.amount,
        "epochs": budget.amount * corpus.tokens,
    }[budget.unit]


def _precision(settings: PretrainSettings) -> Literal["bf16", "fp32"]:
    if settings.machine.precision != "auto":
        return settings.machine.precision
    return "bf16" if cpu_bf16()[0] else "fp32"

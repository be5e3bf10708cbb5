"""The forecast of a pretraining run in numbers: from the corpus, the network and a timed step.

What is measured for it is `planning`'s and `image_planning`'s work. Nothing is read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from headstart.budget import format_seconds
from headstart.config import PretrainSettings
from headstart.families import Model
from headstart.recipes.machine import free_memory_gib
from headstart.recipes.results import Fact, Json, to_json
from headstart.train.plan import StepTime
from headstart.words import Phrase, say

GIB = 2.0**30
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
class Network:
    """What a forecast must know of a network.

    parameters: all of them; body: those of the blocks, which every token passes.
    """

    family: str
    num_layers: int
    hidden_size: int
    intermediate_size: int
    parameters: int
    body: int
    vocab_size: int = 0

    @classmethod
    def of(cls, model: Model, *, vocab_size: int = 0) -> Network:
        """Of a model, and the entries of its tokenizer."""
        config, count = model.config, sum(weight.numel() for weight in model.parameters())
        embedded = sum(weight.numel() for weight in model.embed.parameters())
        return cls(
            model.family,
            config.num_layers,
            config.hidden_size,
            config.intermediate_size,
            count,
            count - embedded,
            vocab_size,
        )


@dataclass(frozen=True)
class Plan:
    """The forecast of one pretraining run, or of a stage of it.

    measured: what its time is calculated from. images: their size, patch and tokens, if these are
    images; their numbers are then said instead of those of tokens. start: what it goes on from.
    then: of the second stage; the rest is then that of the first.
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
    start: str = "scratch"
    objective: str = ""
    budget: str = ""
    then: Plan | None = None

    def lines(self) -> list[Phrase]:
        """The plan for people."""
        texts, (side, patch, tokens) = self.corpus, self.images
        key = "plan_image_model" if tokens else "plan_model"
        lines = [
            say(
                "plan_rows_images" if tokens else "plan_rows",
                accepted=texts.documents,
                files=texts.files,
                set_aside=texts.set_aside,
                rejected=texts.rejected,
            ),
            say(
                key if self.start == "scratch" else "plan_start",
                start=self.start,
                family=self.family,
                size=self.size,
                layers=self.num_layers,
                hidden=self.hidden_size,
                parameters=self.parameters / 1e6,
                vocabulary=self.vocab_size,
                side=side,
                patch=patch,
            ),
        ]
        if self.then is None:
            return [*lines, *self._work()]
        for number, stage in ((1, self), (2, self.then)):
            named = {"objective": stage.objective, "budget": stage.budget}
            lines += [say("plan_stage", number=number, **named), *stage._work()]
        return lines

    def _work(self) -> list[Phrase]:
        """What is done and what it takes."""
        tokens = self.images[2]
        kind, each = ("_images", tokens) if tokens else ("", 1)
        lines = [
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


def joined(plans: Sequence[Plan], *, start: str) -> Plan:
    """One plan of one stage or two."""
    first = replace(plans[0], start=start)
    return first if len(plans) == 1 else replace(first, then=plans[1])


def flops_per_token(settings: PretrainSettings, network: Network) -> float:
    """Floating-point operations of training on one token, forwards and backwards."""
    scores = _rate(settings) * network.vocab_size * network.hidden_size
    mixing = 12 * network.num_layers * settings.data.max_length * network.hidden_size
    return 6 * (network.body + scores) + mixing


def _rate(settings: PretrainSettings) -> float:
    """Share of the tokens that are predicted."""
    causal = "causal" in settings.objective.name.split("+")
    return 1.0 if causal else settings.objective.rate


def forecast(
    corpus: CorpusSize,
    network: Network,
    *,
    settings: PretrainSettings,
    measured: StepTime,
    machine: str,
    batch: int | None = None,
    shown: float = 1.0,
    stored_bytes: int | None = None,
    images: tuple[int, int, int] = (0, 0, 0),
) -> Plan:
    """The arithmetic of the plan, from the size of the corpus and the time of a step.

    batch: tokens of a step, if not those of the settings. shown: share of them that the blocks work
    on. stored_bytes: of the prepared corpus, if not two a token. images: see `Plan`.
    """
    batch = settings.data.tokens_per_batch if batch is None else batch
    stored = 2 * corpus.tokens if stored_bytes is None else stored_bytes
    parameters = network.parameters
    tokens_per_s = batch / measured.step_s(batch)
    tokens = budgeted_tokens(settings, corpus, tokens_per_s, batch=batch)
    width = 16 * network.hidden_size + 4 * network.intermediate_size
    activations = 2 * batch * shown * network.num_layers * width
    logits = 10 * _rate(settings) * batch * network.vocab_size
    saved = SAVED_BYTES * parameters * (settings.keep + 1) + 4 * parameters + stored
    return Plan(
        corpus=corpus,
        family=network.family,
        size=settings.model.size,
        num_layers=network.num_layers,
        hidden_size=network.hidden_size,
        parameters=parameters,
        vocab_size=network.vocab_size,
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
        images=images,
        objective=settings.objective.name,
        budget=str(settings.budget),
    )


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

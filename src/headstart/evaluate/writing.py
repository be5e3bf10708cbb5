"""Learning to write: a start and pairs of texts in, a model that writes out.

The methods are those of fine-tuning, without a probe, whose linear map of a text gives scores and
no text. What there is to choose (the rate of fresh weights) is chosen by the loss of pairs held
out. Sources and targets that are too long are cut at their ends.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import Tokenizer
from torch import nn

from headstart.batch import Sequences
from headstart.data.loader import TokenBatches
from headstart.data.text import demand_ids, framed
from headstart.errors import InputError
from headstart.evaluate.features import Precision, find_device, for_inference, frozen
from headstart.evaluate.finetune import LEAST_FOR_HOLDOUT, Watch, fresh_rates, train_settings
from headstart.evaluate.fitted import Setting, Start
from headstart.evaluate.likelihood import log_chances
from headstart.evaluate.trainable import adapt, set_dropout, settle, stages, unfreeze_top
from headstart.evaluate.transfer import CHOICE_SHARE, Candidate, Choice, best_of
from headstart.evaluate.transfer_settings import Method, TransferSettings
from headstart.families.heads import LanguageHead
from headstart.families.model import Model
from headstart.families.written import Habits, WritingForm, load_writing, save_writing
from headstart.generate import Decoding, Writer, generate
from headstart.objectives import Vocabulary
from headstart.tasks import Room, TextPairs, Write, stock_vocabulary, stratified
from headstart.train import Learner, Probe, Trainer

TOKENS_PER_BATCH = 8192
WRITTEN_AT_ONCE = 16_384  # tokens, the room of the texts included


@dataclass(frozen=True)
class Writing:
    """A model that has learnt to write.

    max_length, target_length: of sources and texts (tokens, special ones included). cost_s: wall
    time of learning. settings: what repeats it.
    """

    model: Model
    head: nn.Module
    frame: Vocabulary
    method: str
    max_length: int
    target_length: int
    habits: Habits
    precision: Precision = "auto"
    cost_s: float = 0.0
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def task(self) -> Write:
        """The task, for laying out pairs."""
        return Write.of(self.model, self.frame)

    @property
    def room(self) -> Room:
        """Most tokens of a source and of a target, without special ones."""
        return self.task.room(
            self.model, max_length=self.max_length, target_length=self.target_length
        )

    @cached_property
    def _ready(self) -> tuple[Model, nn.Module]:
        """Body and head for answering, in one format."""
        body = for_inference(self.model, self.precision)
        return body, copy.deepcopy(self.head).to(body.embed.tokens.weight).eval()

    def losses(
        self, pairs: TextPairs, *, poll: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(N,) summed cross-entropy of each target (nats), and (N,) how many tokens it has."""
        return text_losses(*self._ready, self.task, pairs.fitted(self.room), poll=poll)

    def write(
        self,
        sources: Sequences,
        how: Decoding | None = None,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[list[int]]:
        """The tokens of a text after each source, special ones left out.

        how: with the end that was learnt; None takes the likeliest tokens, up to `target_length`.
        """
        how = how or Decoding(max_new=self.target_length)
        how = replace(how, ends=(self.task.end,))
        room = self.task.room(self.model, max_length=self.max_length, target_length=how.max_new)
        empty = Sequences(
            np.zeros(0, dtype=np.int64), np.zeros(len(sources), np.int64), sources.index
        )
        read = TextPairs(sources, empty).fitted(room)
        writer = Writer(*self._ready, pack=True)
        found: list[list[int]] = [[] for _ in range(len(read))]
        done = 0
        for chosen in _alike((read.lengths + how.max_new) * how.beams, WRITTEN_AT_ONCE):
            prompts = self.task.prompts(read.take(chosen))
            texts = generate(writer, prompts, how)
            for number, text in zip(chosen.tolist(), texts, strict=True):
                found[number] = text.tokens
            done += len(chosen)
            progress(done, len(read))
        return found

    def save(self, folder: str | Path, *, tokenizer: Tokenizer | None, about: str = "") -> Path:
        """Write a Hugging Face folder; see `families.written` for what opens it."""
        if tokenizer is not None:
            tokenizer = framed(tokenizer, self.frame.cls, self.frame.sep)
        form = WritingForm(self.model, self.head, self.max_length, self.target_length, self.habits)
        return save_writing(form, folder, tokenizer=tokenizer, about=about)


def open_writing(
    folder: str | Path, tokenizer: Tokenizer, *, precision: Precision = "auto"
) -> Writing:
    """A model that has learnt to write, from the folder that it was saved in."""
    found = load_writing(folder)
    device = find_device("auto")
    demand_ids(tokenizer, folder, size=found.model.config.vocab_size)
    return Writing(
        model=found.model.to(device),
        head=found.head.to(device),
        frame=stock_vocabulary(tokenizer),
        method="loaded",
        max_length=found.max_length,
        target_length=found.target_length,
        habits=found.habits,
        precision=precision,
    )


def text_losses(
    model: Model,
    head: nn.Module,
    task: Write,
    pairs: Sequences,
    *,
    poll: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) summed cross-entropy of the targets of pairs (`TextPairs.fitted`), and their tokens."""
    assert isinstance(head, LanguageHead), "a head for next tokens"
    device = model.embed.tokens.weight.device
    sums, counts = np.zeros(len(pairs)), np.zeros(len(pairs), dtype=np.int64)
    with frozen(model), frozen(head):
        for chosen in _alike(pairs.lengths, TOKENS_PER_BATCH):
            poll()
            batch = task.prepare(pairs.take(chosen)).to(device)
            labels = batch.targets["labels"]
            states = task.states(model, batch)[: len(labels)]
            found = -log_chances(model, head, states, labels).double().cpu()
            owner = batch.targets["owner"].cpu().numpy()
            sums[chosen] = np.bincount(owner, found.numpy(), len(chosen))
            counts[chosen] = np.bincount(owner, minlength=len(chosen))
    return sums, counts


def _alike(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Numbers of sequences of like length, longest first, in groups of about so many tokens."""
    order = np.argsort(-lengths, kind="stable")
    cost = np.maximum(lengths[order], 1)
    group = (np.cumsum(cost) - cost) // tokens
    return iter([part for part in np.split(order, np.flatnonzero(np.diff(group)) + 1) if len(part)])


def ways_to_write(
    start: Start, method: Method | Literal["auto"], settings: TransferSettings
) -> list[Candidate]:
    """What there is to choose from: a rate for fresh weights, else nothing."""
    chosen: Method = "full" if method == "auto" else method
    if not start.pretrained:
        return [Candidate(chosen, option) for option in fresh_rates(settings)]
    return [Candidate(chosen, settings)]


def choose_to_write(
    start: Start, pairs: TextPairs, options: Sequence[Candidate], *, habits: Habits, seed: int
) -> Choice:
    """The option with the least loss on a quarter held out; its score is that loss, negated."""
    began = time.perf_counter()
    learn, held = stratified(np.zeros(len(pairs)), CHOICE_SHARE, seed=seed * 1000)
    if len(options) == 1 or min(len(learn), len(held)) < 4:
        return Choice(options[0], {}, time.perf_counter() - began)

    def trial(one: Candidate) -> float:
        fitted = learn_to_write(
            start, pairs.take(learn), one.method, settings=one.settings, habits=habits, seed=seed
        )
        sums, counts = fitted.losses(pairs.take(held))
        return -float(sums.sum() / counts.sum())

    best, scores = best_of(options, trial, start)
    return Choice(best, scores, time.perf_counter() - began)


def learn_to_write(
    start: Start,
    pairs: TextPairs,
    method: Method,
    *,
    settings: TransferSettings,
    habits: Habits,
    seed: int,
    folder: Path | None = None,
    watch: Watch = lambda _: None,
) -> Writing:
    """Fine-tune a copy of the start to write, by "lora", "partial" or "full".

    folder: for checkpoints and history: the same call goes on there after a kill, to the same bits.
    Partial trains the top blocks of the stack that writes.
    """
    began = time.perf_counter()
    assert isinstance(start.frame, Vocabulary), "a start that reads text"
    if method == "probe":
        raise InputError("a probe gives scores, not texts: choose lora, partial or full")
    model = copy.deepcopy(start.model).float()
    rate = settings.rate(
        method, parameters=sum(weight.numel() for weight in model.parameters()), writes=True
    )
    task = Write.of(model, start.frame)
    room = task.room(model, max_length=settings.max_length, target_length=settings.target_length)
    held, learnt = _split(pairs, settings, seed)
    stacks = [model.stack] if model.decoder is None else [model.stack, model.decoder]
    set_dropout(model, stacks, settings.dropout, attention=0.0)
    learner = Learner(model, task.heads(model, seed=seed, start=start.heads).float())
    if method == "lora":
        adapt(model, stacks, settings, seed=seed)
        learner.heads.requires_grad_(False)
    else:
        top = settings.top_layers if method == "partial" else None
        unfreeze_top(learner, top, stack=stacks[-1])
    source = TokenBatches(
        learnt.fitted(room), tokens_per_batch=settings.tokens_per_batch, seed=seed
    )
    (stage,) = stages(
        method,
        replace(settings, unfreeze="at_once"),
        blocks=len(stacks[-1].blocks),
        source=source,
    )
    trainer = Trainer(
        learner,
        task,
        source,
        train_settings(settings, rate=rate, steps=stage.steps, seed=seed),
        folder=folder,
        probes=[] if held is None else [_held_out(task, held.fitted(room))],
    )
    for record in trainer.steps():
        watch(record)
    settle(model, stacks)
    return Writing(
        model=model.eval(),
        head=learner.heads["causal"].eval(),
        frame=start.frame,
        method=method,
        max_length=settings.max_length,
        target_length=settings.target_length,
        habits=habits,
        precision=settings.precision,
        cost_s=time.perf_counter() - began,
        settings={**settings.record(method, seed=seed), "lr": rate},
    )


def _split(
    pairs: TextPairs, settings: TransferSettings, seed: int
) -> tuple[TextPairs | None, TextPairs]:
    if not settings.holdout or len(pairs) < LEAST_FOR_HOLDOUT:
        return None, pairs
    learn, held = stratified(np.zeros(len(pairs)), settings.holdout, seed=seed)
    return pairs.take(held), pairs.take(learn)


def _held_out(task: Write, pairs: Sequences) -> Probe:
    def measure(learner: Learner, poll: Callable[[], None]) -> float:
        model = learner.model
        assert isinstance(model, Model), "a learner of this module holds a family's model"
        sums, counts = text_losses(model, learner.heads["causal"], task, pairs, poll=poll)
        return float(sums.sum() / counts.sum())

    return Probe("held-out loss", measure, higher_is_better=False)

"""`headstart pretrain`: unlabelled text in, a run folder with a pretrained model out.

Corpus, tokenizer, token store, network, objective and trainer, in this order; each is announced
before it is used. Texts of the probe (and of a test file, in a report) never enter the corpus.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from headstart.abilities import WRITERS
from headstart.config import PretrainSettings
from headstart.data.dataset import Corpus, Labelled, load_labelled
from headstart.data.image_batches import Batches
from headstart.data.leaks import LeakReport, find_leaks
from headstart.data.store import TokenStore
from headstart.data.text import tokenizer_fit, train_tokenizer
from headstart.evaluate.probe import online_probe
from headstart.events import Events
from headstart.families import HeadKind, Loaded, Model, find, load_model, resolve, save_model
from headstart.families.digests import seal
from headstart.objectives import Pretraining, Vocabulary
from headstart.recipes.building import (
    first_model,
    make_batches,
    make_objective,
    refuse_objective,
    start_from_corpus,
    token_importance,
    train_settings,
    window_length,
)
from headstart.recipes.results import PretrainResult
from headstart.recipes.telling import echo, refuse_without_text, tell, tell_files
from headstart.recipes.text_medium import tokenizer_of
from headstart.settings_file import to_yaml
from headstart.tasks import tokenized, vocabulary_of
from headstart.train import Learner, Probe, RunFolder, Trainer, make_lineage
from headstart.train.learner import Trainable
from headstart.words import say

TEXTS_OF_FIT = 2000


@dataclass(frozen=True)
class Prepared:
    """A corpus as tokens. left_out: documents kept out of it."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary
    store: TokenStore
    left_out: int

    @cached_property
    def importance(self) -> np.ndarray:
        """Inverse document frequency of every token."""
        return token_importance(self.store, self.vocabulary)


def pretrain(
    data: Sequence[Path],
    *,
    settings: PretrainSettings,
    events: Events,
    leaks: LeakReport | None = None,
) -> PretrainResult:
    """Pretrain on these files; the same call again goes on where a stopped one was.

    leaks: found before in these same files, against texts that must not be in the corpus; those and
        what is found of the probe's texts are left out.
    """
    begin = time.perf_counter()
    labelled = None
    if settings.probe is not None:
        labelled = load_labelled(
            settings.probe,
            label=settings.data.label,
            kind=settings.data.kind,
            encoding=settings.data.encoding,
            bad_rows="skip",
        )
        echo(labelled, events)
    folder = RunFolder(Path(settings.out or default_folder("pretrain", data))).create()
    folder.write_settings(to_yaml(settings))
    start = None if settings.start == "scratch" else load_model(resolve(settings.start))
    if start is not None:
        refuse_objective(settings, start.model)
    tokenizer = None if start is None else tokenizer_of(start, settings.start)
    prepared = prepare_corpus(
        data,
        settings,
        folder.path / "tokens",
        tokenizer=tokenizer,
        labelled=labelled,
        known=leaks,
        events=events,
    )
    vocabulary = prepared.vocabulary
    model = _network(settings, prepared, start)
    objective = make_objective(settings, vocabulary, model, lambda: prepared.importance)
    heads = _heads(objective, model, start, seed=settings.seed)
    source, held_out = make_batches(settings, prepared.store, vocabulary, objective)
    trainer = Trainer(
        Learner(model, heads),
        objective,
        source,
        train_settings(settings, model),
        folder=folder.path,
        probes=_probes(labelled, prepared, settings),
        data_digest=prepared.store.digest,
        note=events.note,
    )
    size = prepared.vocabulary.size
    announce("plan_model", settings, model, folder, events, vocabulary=size)
    tokens, loss = run_steps(trainer, events, "tokens")
    unseen = measure_held_out(objective, trainer.learner, held_out)
    _save(trainer, objective, prepared, folder, settings)
    outcome = trainer.outcome
    events.progress("pretrain", outcome.total, outcome.total)
    seconds = time.perf_counter() - begin
    writes = model.arrangement in WRITERS
    return PretrainResult(folder.path, outcome.step, tokens, seconds, loss, unseen, writes=writes)


def _probes(
    labelled: Labelled | None, prepared: Prepared, settings: PretrainSettings
) -> list[Probe]:
    """The user's own task, if a file of it was given."""
    if labelled is None:
        return []
    examples = tokenized(labelled, prepared.tokenizer)
    length = settings.data.max_length
    return [online_probe(examples, prepared.vocabulary, max_length=length, seed=settings.seed)]


def default_folder(verb: str, data: Sequence[Path]) -> str:
    """runs/<verb>-<name of the first file or folder>."""
    name = Path(data[0]).resolve().name.split(".")[0] if data else "run"
    return f"runs/{verb}-{name}"


def prepare_corpus(
    data: Sequence[Path],
    settings: PretrainSettings,
    place: Path,
    *,
    tokenizer: Tokenizer | None,
    labelled: Labelled | None,
    known: LeakReport | None,
    events: Events,
) -> Prepared:
    """Read the corpus, leave out leaks and the probe's texts, train a tokenizer unless given."""
    corpus = Corpus(
        [str(path) for path in data],
        text=settings.data.text,
        encoding=settings.data.encoding,
        bad_rows="skip",
    )
    survey = corpus.survey()
    tell_files(survey.notes, events)
    events.note(
        say(
            "corpus_read",
            documents=survey.documents,
            files=survey.files,
            set_aside=survey.quarantined,
            rejected=survey.rejected,
        )
    )
    if not survey.documents:
        refuse_without_text(data, survey.problems)
    tell(survey.problems, events)
    left_out = set() if known is None else set(known.drop)
    if labelled is not None:
        found_here = find_leaks(corpus, test=labelled.texts)
        events.note(str(found_here))
        left_out |= set(found_here.drop)
    corpus = corpus.without(left_out)
    if tokenizer is None:
        events.progress("tokenize", 0, 0)
        tokenizer = train_tokenizer(
            corpus.texts(),
            kind=settings.data.tokenizer,
            vocab_size=settings.data.vocab_size,
            lowercase=settings.data.lowercase,
            style=find(settings.model.family).special_tokens,
        )
    vocabulary = vocabulary_of(tokenizer)
    store = TokenStore.prepare(
        corpus,
        tokenizer,
        place,
        progress=lambda done, _: events.progress("tokenize", done, survey.documents),
    )
    events.progress("tokenize", survey.documents, survey.documents)
    texts = [text for text, _ in zip(corpus.texts(), range(TEXTS_OF_FIT), strict=False)]
    fit = tokenizer_fit(
        tokenizer, texts, max_length=window_length(settings.data.max_length, vocabulary)
    )
    events.note(
        say(
            "tokenizer_fit",
            tokens=len(store.tokens),
            size=vocabulary.size,
            fertility=fit.fertility,
            unknown=100 * fit.unknown_share,
            long=100 * fit.truncated_share,
        )
    )
    return Prepared(tokenizer, vocabulary, store, len(left_out))


def _network(settings: PretrainSettings, prepared: Prepared, start: Loaded | None) -> Model:
    model = first_model(settings, start, vocab_size=prepared.vocabulary.size)
    if start is None and settings.objective.latent_start:
        start_from_corpus(model, prepared.store, prepared.importance, seed=settings.seed)
    return model


# where heads of objectives stand in model folders
PLACES: dict[str, HeadKind] = {
    "mlm": "masked",
    "hybrid": "masked",
    "nsp": "next_sentence",
    "causal": "causal",
    "span_corruption": "causal",
}


def _heads(
    objective: Pretraining, model: Model, start: Loaded | None, *, seed: int
) -> nn.ModuleDict:
    """Fresh heads, or those of the checkpoint where it has them."""
    heads = objective.heads(model, seed=seed)
    for name, kind in PLACES.items():
        if start is not None and name in heads and kind in start.heads:
            heads[name] = start.heads[kind]
    return heads


def announce(
    key: str,
    settings: PretrainSettings,
    model: Model,
    folder: RunFolder,
    events: Events,
    *,
    more: Sequence[str] = (),
    **facts: int,
) -> None:
    """The plan of a pretraining run.

    key, facts: the sentence about the network, and what it says besides what all of them say.
    more: lines about the objective.
    """
    network = say(
        key,
        family=model.family,
        size=settings.model.size,
        layers=model.config.num_layers,
        hidden=model.config.hidden_size,
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        **facts,
    )
    objective = say("plan_objective", objective=settings.objective.name)
    ends = (say("plan_budget", budget=settings.budget), say("plan_out", out=folder.path))
    events.plan([network, objective, *more, *ends])


def run_steps(
    trainer: Trainer, events: Events, unit: Literal["tokens", "images", "pairs"], *, size: float = 1
) -> tuple[int, float]:
    """All steps. Returns tokens seen in this call, and the mean loss of the last steps.

    unit: what is counted for people. size: tokens of each.
    """
    tokens = 0
    last: list[float] = []
    for record in trainer.steps():
        tokens += record.tokens
        last = [*last[-19:], record.loss]
        detail = say(f"step_{unit}", loss=record.loss, rate=record.tokens_per_s / size)
        events.progress("pretrain", record.step, record.total, detail)
    return tokens, float(np.mean(last)) if last else float("nan")


def measure_held_out(objective: Trainable, learner: Learner, held_out: Batches) -> float:
    """Mean loss on what was held out, with the masks of seed 0."""
    total, count = 0.0, 0
    device = next(learner.parameters()).device
    learner.eval()
    with torch.no_grad():
        for n in range(held_out.batches_per_epoch):
            batch = objective.prepare(held_out.batch(n), np.random.default_rng(n), 1.0).to(device)
            loss = objective.loss(learner.model, learner.heads, batch)
            total += float(loss.value) * loss.count
            count += loss.count
    return total / count if count else float("nan")


def _save(
    trainer: Trainer,
    objective: Pretraining,
    prepared: Prepared,
    folder: RunFolder,
    settings: PretrainSettings,
) -> None:
    """The model folder and the lineage."""
    model = trainer.learner.model
    assert isinstance(model, Model)
    save_model(
        model,
        saved_heads(trainer.learner),
        folder.model,
        tokenizer=prepared.tokenizer,
        pooling="mean" if model.arrangement == "encoder" else None,
        about=say("card_pretrained", start=settings.start, objective=objective.name),
    )
    conclude(trainer, folder, settings, digest=prepared.store.digest, left_out=prepared.left_out)


def conclude(
    trainer: Trainer,
    folder: RunFolder,
    settings: PretrainSettings,
    *,
    digest: str,
    left_out: int = 0,
    parent: str | None = None,
) -> None:
    """Seal the model folder and write the lineage.

    digest: of what was learnt from. parent: what the run came from; None: as its settings say.
    """
    seal(folder.model)
    data = {"corpus": digest}
    if left_out:
        data["left out of the corpus"] = str(left_out)
    if parent is None:
        parent = "" if settings.start == "scratch" else settings.start
    lineage = make_lineage(
        trainer.outcome,
        trainer.precision,
        data=data,
        parent=parent,
        seeds={"all": settings.seed},
    )
    folder.write_lineage(lineage)


def saved_heads(learner: Learner) -> dict[str, nn.Module]:
    """The heads that the family's folders have a place for; no task needs the others."""
    model = learner.model
    assert isinstance(model, Model)
    known = find(model.family).heads
    heads: dict[str, nn.Module] = {}
    for name, kind in PLACES.items():
        if name in learner.heads and kind in known:
            heads[kind] = learner.heads[name]
    return heads

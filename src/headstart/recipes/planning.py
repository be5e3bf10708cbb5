"""What a pretraining run on text would do, before it does it: `headstart plan`.

Reads the corpus once (the first 64 MB in full, the rest by size), trains a tokenizer on its
beginning or takes the one of the model to go on from, times some steps of the very network for
about three seconds, and forecasts steps, passes, time, memory and disk from that; of two stages,
each by itself. Nothing is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from headstart.batch import Sequences
from headstart.config import PretrainSettings
from headstart.data.files import list_files, read_documents
from headstart.data.record import Document, Problem
from headstart.data.text import encode, train_tokenizer
from headstart.events import Events, Silent
from headstart.families import Model, find, load_model, resolve
from headstart.objectives import Vocabulary
from headstart.recipes.building import (
    first_model,
    make_batches,
    make_objective,
    on_machine,
    refuse_objective,
    train_settings,
)
from headstart.recipes.forecasting import (
    CorpusSize,
    Network,
    Plan,
    flops_per_token,
    forecast,
    joined,
)
from headstart.recipes.machine import matrix_gflops
from headstart.recipes.staging import refuse_stages, stages
from headstart.recipes.telling import refuse_without_text
from headstart.recipes.text_medium import tokenizer_of
from headstart.tasks import vocabulary_of
from headstart.train import Learner, TrainSettings
from headstart.train.plan import StepTime, time_step
from headstart.train.precision import Precision, choose_precision

READ_BYTES = 64_000_000
SAMPLE_CHARACTERS = 1_000_000  # of the corpus, for the steps that are timed and for the tokenizer,
TOKENIZER_CHARACTERS = 4_000_000  # which reads so many where the vocabulary could still grow
FULL = 0.98  # of the wanted entries, from which a vocabulary does not grow with more text
MEASURE_S = 3.0
# Share of the matrix speed that whole training steps reach at least: how large a step can be timed.
EFFICIENCY = 0.2


def plan_texts(
    data: Sequence[Path], *, settings: PretrainSettings, events: Events | None = None
) -> Plan:
    """Forecast a pretraining run on text.

    Raises InputError if the data holds none, or what the run itself would refuse in its settings.
    """
    listener = events or Silent()
    parts = stages_of(settings)
    loaded = None if settings.start == "scratch" else load_model(resolve(settings.start))
    if loaded is not None:
        refuse_objective(settings, loaded.model)
    corpus = measure_corpus(data, settings=settings, events=listener)
    texts = first_texts(data, settings=settings)
    if not texts:
        found = read_documents(data, text=settings.data.text, encoding=settings.data.encoding)
        refuse_without_text(data, [one for one in found if isinstance(one, Problem)])
    listener.progress("calibrate", 0, 0)
    if loaded is None:
        tokenizer = first_tokenizer(data, settings=settings)
    else:
        tokenizer = tokenizer_of(loaded, settings.start)
    vocabulary, tokens = vocabulary_of(tokenizer), encode(tokenizer, texts)
    guessed = sum(estimate_tokens(text) for text in texts)
    corpus = replace(corpus, tokens=round(corpus.tokens * len(tokens.tokens) / max(1, guessed)))
    model = first_model(settings, loaded, vocab_size=vocabulary.size)
    network, machine = Network.of(model, vocab_size=vocabulary.size), machine_in_words(settings)
    plans = []
    for part in parts:
        measured = measure_steps(copy.deepcopy(model), vocabulary, tokens, settings=part)
        plans.append(forecast(corpus, network, settings=part, measured=measured, machine=machine))
    listener.progress("calibrate", 1, 1)
    return joined(plans, start=settings.start)


def stages_of(settings: PretrainSettings) -> tuple[PretrainSettings, ...]:
    """The settings of each stage. Raises InputError if there could be no second one."""
    if settings.then is None:
        return (settings,)
    refuse_stages(settings)
    return stages(settings, Path())


def first_texts(
    data: Sequence[Path], *, settings: PretrainSettings, most: int = SAMPLE_CHARACTERS
) -> list[str]:
    """The first texts of the corpus, of so many characters."""
    texts: list[str] = []
    left = most
    for found in read_documents(data, text=settings.data.text, encoding=settings.data.encoding):
        if isinstance(found, Document):
            texts.append(found.text[:left])
            left -= len(found.text)
        if left <= 0:
            break
    return texts


def first_tokenizer(data: Sequence[Path], *, settings: PretrainSettings) -> Tokenizer:
    """The tokenizer of the corpus, or one with as many entries from its beginning."""
    wanted, most = settings.data.vocab_size, SAMPLE_CHARACTERS
    while True:
        texts = first_texts(data, settings=settings, most=most)
        tokenizer = train_tokenizer(
            texts,
            kind=settings.data.tokenizer,
            vocab_size=wanted,
            lowercase=settings.data.lowercase,
            style=find(settings.model.family).special_tokens,
        )
        full = settings.data.tokenizer == "bytes" or tokenizer.get_vocab_size() >= FULL * wanted
        if full or sum(map(len, texts)) < most or most >= TOKENIZER_CHARACTERS:
            return tokenizer
        most = TOKENIZER_CHARACTERS


def measure_steps(
    model: Model, vocabulary: Vocabulary, tokens: Sequences, *, settings: PretrainSettings
) -> StepTime:
    """Time steps of the network on these texts.

    Where a whole step would take too long, smaller ones are timed.
    """
    weight = np.ones(vocabulary.size)
    weight[list(vocabulary.special)] = 0
    objective = make_objective(settings, vocabulary, model, lambda: weight)
    small = _smaller(settings, Network.of(model, vocab_size=vocabulary.size))
    source, _ = make_batches(small, tokens, vocabulary, objective)
    learner = Learner(model, objective.heads(model, seed=settings.seed))
    training = train_settings(small, model)
    return time_step(learner, objective, source, training, within_s=MEASURE_S)


def _smaller(settings: PretrainSettings, network: Network) -> PretrainSettings:
    """Settings of a step that is small enough for four of them in the time there is, on a CPU."""
    here = computing_on(settings)
    if here.device.type != "cpu":
        return settings
    kind: Literal["bf16", "fp32"] = "bf16" if here.dtype.itemsize == 2 else "fp32"
    speed = matrix_gflops(kind, size=512, seconds=0.1) * 1e9 * EFFICIENCY
    fits = int(MEASURE_S / 4 * speed / flops_per_token(settings, network))
    size = max(settings.data.max_length, min(settings.data.tokens_per_batch, fits))
    data = settings.data.model_copy(update={"tokens_per_batch": size})
    return settings.model_copy(update={"data": data})


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


def computing_on(settings: PretrainSettings) -> Precision:
    """Device and number format."""
    return choose_precision(on_machine(TrainSettings(), settings.machine))


def machine_in_words(settings: PretrainSettings) -> str:
    """Where it is computed, in words: cpu, bfloat16, 2 threads."""
    here = computing_on(settings)
    kind = str(here.dtype).removeprefix("torch.")
    return f"{here.device}, {kind}, {here.threads} threads"

"""The verbs as Python functions with friendly keywords: each makes settings and calls its recipe.

Defaults are those of the settings: a keyword left out is not given. Any further setting goes
through `settings={"optimizer.lr": 3e-4}`, as `--set` does on the command line; `config="run.yaml"`
repeats a run. Mistakes raise InputError with every problem in one message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Unpack

from headstart import recipes
from headstart.config import FinetuneSettings, PretrainSettings, ReportSettings
from headstart.data.inputs import texts_of
from headstart.errors import InputError
from headstart.events import Events, Silent
from headstart.recipes.demonstration import demo
from headstart.recipes.fitted import Fitted
from headstart.recipes.given import (
    Data,
    PathLike,
    Start,
    demanded,
    name_of,
    names_of,
    of_data,
    of_network,
    of_run,
    of_towers,
    of_transfer,
    path_of,
    reading,
    start_of,
)
from headstart.recipes.machine import doctor
from headstart.recipes.results import (
    Comparison,
    FinetuneResult,
    Generated,
    Generations,
    Measured,
    Prediction,
    PretrainResult,
    Result,
    Retrieved,
)
from headstart.settings_file import make_settings

if TYPE_CHECKING:
    from headstart.generate.defaults import Choices
    from headstart.serve.embed import Encoder
    from headstart.serve.generate import Generator

__all__ = [
    "Fitted",
    "check",
    "compare",
    "demo",
    "doctor",
    "encoder",
    "evaluate",
    "finetune",
    "generate",
    "generator",
    "load",
    "plan",
    "predict",
    "pretrain",
    "report",
]


def pretrain(
    data: Data = (),
    *,
    family: str | None = None,
    size: str | None = None,
    objective: str | None = None,
    then: str | None = None,
    start: Start | None = None,
    start_text: Start | None = None,
    start_images: Start | None = None,
    budget: str | None = None,
    probe: PathLike | None = None,
    text: str | None = None,
    label: str | None = None,
    vocab_size: int | None = None,
    max_length: int | None = None,
    out: PathLike | None = None,
    threads: int | None = None,
    seed: int | None = None,
    config: PathLike | None = None,
    settings: Mapping[str, object] | None = None,
    events: Events | None = None,
) -> PretrainResult:
    """Pretrain a transformer on unlabelled text or images; writes a run folder.

    data: files and folders. then: objective of a second stage. start: what to go on from, nothing
    if not given. start_text, start_images: for images with captions, what each of the two towers
    begins from. budget: "30m", "2000 steps", ... label: its column in the file for `probe`.
    """
    given = {
        **of_data(
            names_of(data), text=text, label=label, vocab_size=vocab_size, max_length=max_length
        ),
        **of_network(family, size=size, objective=objective),
        **of_run(name_of(out), threads=threads, seed=seed),
        "start": start_of(start),
        **of_towers(start_of(start_text), images=start_of(start_images)),
        "then": then,
        "budget": budget,
        "probe": name_of(probe),
        **(settings or {}),
    }
    made = make_settings(PretrainSettings, file=path_of(config), given=given)
    paths = demanded(made.data.paths, "text")
    result = recipes.pretrain(paths, settings=made, events=events or Silent())
    assert isinstance(result, PretrainResult)
    return result


def finetune(
    data: Data = (),
    *,
    start: Start | None = None,
    method: str | None = None,
    kind: str | None = None,
    test: PathLike | None = None,
    text: str | None = None,
    label: str | None = None,
    epochs: int | None = None,
    seeds: int | None = None,
    out: PathLike | None = None,
    threads: int | None = None,
    seed: int | None = None,
    config: PathLike | None = None,
    settings: Mapping[str, object] | None = None,
    events: Events | None = None,
) -> Fitted:
    """Teach a pretrained model a labelled task; writes a run folder.

    data: one labelled table, or a folder of images for every class. start: a run, a Hugging Face
    folder, or "hf:ID". kind: what labels are: "classes", "multilabel", "number", "text" (to be
    written); inferred if not given.
    """
    given = {
        **of_data(names_of(data), text=text, label=label, kind=kind),
        **of_transfer(method, epochs=epochs),
        **of_run(name_of(out), threads=threads, seed=seed),
        "start": start_of(start),
        "test": name_of(test),
        "seeds": seeds,
        **(settings or {}),
    }
    made = make_settings(FinetuneSettings, file=path_of(config), given=given)
    paths = demanded(made.data.paths, "labelled file")
    result = recipes.finetune(paths, start=made.start, settings=made, events=events or Silent())
    assert isinstance(result, FinetuneResult)
    return Fitted(str(result.folder), result)


def report(
    data: Data = (),
    *,
    corpus: Data = (),
    start: Start | None = None,
    public: Data = (),
    test: PathLike | None = None,
    text: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    labels: Sequence[int | str] | None = None,
    method: str | None = None,
    family: str | None = None,
    size: str | None = None,
    objective: str | None = None,
    seeds: int | None = None,
    budget: str | None = None,
    out: PathLike | None = None,
    threads: int | None = None,
    seed: int | None = None,
    config: PathLike | None = None,
    settings: Mapping[str, object] | None = None,
    events: Events | None = None,
) -> Result:
    """Learn whether pretraining pays for a task, and from how many labels on.

    data: as in `finetune`. corpus: unlabelled text or images to pretrain on, or start: a pretrained
    run. public: models of others to choose among.
    labels: label counts of the curve, such as [50, 200, "all"].
    """
    given = {
        **of_data(names_of(data), text=text, label=label, kind=kind),
        **of_network(family, size=size, objective=objective),
        **of_transfer(method),
        **of_run(name_of(out), threads=threads, seed=seed),
        "corpus": names_of(corpus),
        "start": start_of(start),
        "public": names_of(public),
        "test": name_of(test),
        "labels": [str(count) for count in labels] if labels else None,
        "seeds": seeds,
        "budget": budget,
        **(settings or {}),
    }
    made = make_settings(ReportSettings, file=path_of(config), given=given)
    paths = demanded(made.data.paths, "labelled file")
    if not made.corpus and made.start is None:
        raise InputError("nothing to pretrain on: give corpus= (files, folders) or start= (a run)")
    result = recipes.report(paths, settings=made, events=events or Silent())
    assert isinstance(result, Result)
    return result


def evaluate(
    model: Start,
    data: Data,
    *,
    text: str | None = None,
    label: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> Measured | Retrieved:
    """Score a fine-tuned model on a labelled file, with a 95 % interval.

    A model of images and texts: on labelled images by the names of the labels, or, on images with
    captions, how often both find each other. settings: "data.encoding", "images.column".
    """
    return load(model).evaluate(data, text=text, label=label, settings=settings)


def predict(
    model: Start,
    inputs: Data,
    *,
    text: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> list[Prediction]:
    """Answers of a fine-tuned model for texts or images, or for those in files, in their order.

    A model of images and texts takes images and texts, and answers each image with a text.
    settings: "data.encoding", "images.column" of the files.
    """
    return load(model).predict(inputs, text=text, settings=settings)


def encoder(start: Start, *, precision: Literal["auto", "bf16", "fp32"] = "auto") -> Encoder:
    """A pretrained model, loaded once, whose `encode(texts)` gives vectors of length 1.

    precision: "auto" computes in bf16 where the processor has it; "fp32" gives what
    sentence-transformers gives for the same folder.
    """
    from headstart.serve.embed import Encoder  # brings torch, which the other verbs bring later

    return Encoder.open(start_of(start) or "", precision=precision)


def generate(
    model: Start | Generator,
    prompts: str | Sequence[str],
    *,
    stop: Sequence[str] = (),
    **choices: Unpack[Choices],
) -> list[Generated]:
    """What a model writes after each prompt, or instead of it (T5, Marian), in their order.

    model: a run, a Hugging Face folder, "hf:ID", or what `generator` gave. stop: strings before
    which a text ends. choices: max_new, temperature, beams, ... as in `generate.Decoding`; those
    left out are as the folder's generation_config.json has them.
    """
    given = texts_of(prompts, what="prompt")
    ready = start_of(model) if isinstance(model, str | os.PathLike | PretrainResult) else model
    result = recipes.generate(ready, given, stop=stop, **choices)
    assert isinstance(result, Generations)
    return list(result.texts)


def generator(start: Start, *, precision: Literal["auto", "bf16", "fp32"] = "auto") -> Generator:
    """A model that writes, loaded once: `generate(prompts)`, and `stream(prompt)` piece by piece.

    precision: "auto" computes in bf16 where the processor has it; "fp32" writes what transformers
    writes in fp32.
    """
    from headstart.serve.generate import Generator  # brings torch

    return Generator.open(start_of(start) or "", precision=precision)


def compare(
    first: Start,
    second: Start,
    *,
    test: PathLike | None = None,
    text: str | None = None,
    label: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> Comparison:
    """Compare two runs on the same examples, with an interval for the difference.

    settings: "data.encoding", "images.column" of the test file.
    """
    names, read = (start_of(first), start_of(second)), reading(settings)
    result = recipes.compare(
        *names, test=name_of(test), text=text, label=label, read=read, events=Silent()
    )
    assert isinstance(result, Comparison)
    return result


def check(
    data: Data,
    *,
    text: str | None = None,
    label: str | None = None,
    test: PathLike | None = None,
    settings: Mapping[str, object] | None = None,
) -> Result:
    """Every problem of texts, images or labelled examples, in one pass.

    settings: "data.encoding", "images.column".
    """
    names = [str(path) for path in demanded(names_of(data) or (), "data")]
    result = recipes.check(
        names, text=text, label=label, test=name_of(test), read=reading(settings)
    )
    assert isinstance(result, Result)
    return result


def plan(
    data: Data = (),
    *,
    family: str | None = None,
    size: str | None = None,
    objective: str | None = None,
    then: str | None = None,
    start: Start | None = None,
    budget: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> Result:
    """Forecast a pretraining run: steps, passes, time, memory. Trains nothing.

    then: of both stages. start: with the network and the vocabulary of what is gone on from.
    """
    given = {
        **of_data(names_of(data)),
        **of_network(family, size=size, objective=objective),
        "start": start_of(start),
        "then": then,
        "budget": budget,
        **(settings or {}),
    }
    made = make_settings(PretrainSettings, given=given)
    result = recipes.plan(demanded(made.data.paths, "text"), settings=made)
    assert isinstance(result, Result)
    return result


def load(model: Start) -> Fitted:
    """A fine-tuned model from a run folder or a Hugging Face folder; read when first used."""
    return Fitted(start_of(model) or "")

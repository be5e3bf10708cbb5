"""Every objective trains on every family that can do it, and beats answers that ignore the input.

Real text: the demo's customer questions, and Chinese headlines where they lie beside the project.
Real images: CIFAR-10, where it lies there. What is beaten is the best constant answer, computed
here from the targets alone: the distribution of all targets that training met (tokens, words, codes
of patches, yes or no), the number of candidates (contrast), or the middle of what is hidden
(pixels).
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from headstart.abilities import OBJECTIVE_NEEDS, ObjectiveName, families_for
from headstart.config import PretrainSettings
from headstart.data.images import load_images
from headstart.events import Silent
from headstart.families import find
from headstart.recipes.building import make_batches, make_objective, train_settings
from headstart.recipes.code_book import code_book
from headstart.recipes.demonstration import demo_data
from headstart.recipes.image_pretraining import image_batches, image_model, image_objective
from headstart.recipes.pretraining import Prepared, _network, prepare_corpus
from headstart.settings_file import make_settings
from headstart.train import Learner, Trainer
from real_data import data_dir

TINY = {
    "model.num_layers": 2,
    "model.hidden_size": 64,
    "model.num_heads": 2,
    "data.vocab_size": 800,
    "data.max_length": 64,
    "data.tokens_per_batch": 512,
    "objective.rate": 0.3,
    "optimizer.lr": 8e-3,
    "machine.threads": 1,
    "machine.precision": "fp32",
}
STEPS = 100
IMAGES = {
    **TINY,
    "model.family": "vit",
    "images.patch": 8,
    "images.codes": 32,
    "images.decoder_layers": 1,
    "data.tokens_per_batch": 17 * 32,
    "optimizer.lr": 3e-3,
    "budget": f"{STEPS} steps",
}
QUESTIONS = 4  # customer questions in one document, so that a document has parts
COUNT_IMAGES = 800
NEXT = {  # what must be known of two halves is hard to find
    "budget": "400 steps",
    "optimizer.lr": 1e-3,
    "data.max_length": 96,
    "data.vocab_size": 500,
}
# by how much each objective's loss on unseen data must lie below that of the best constant answer
MARGINS = {
    "mlm": 0.1,
    "hybrid": 0.1,
    "causal": 0.8,
    "span_corruption": 0.5,
    "bow": 0.1,
    "nsp": 0.05,
    "contrast": 0.5,
    "mae": 0.04,
    "simmim": 0.015,
    "beit": 0.15,
}


def cases() -> list[tuple[str, str]]:
    """All pairs of an objective and a family of texts that settings allow."""
    found = []
    for name in get_args(ObjectiveName):
        able = [set(families_for(part)) for part in name.split("+")]
        found += [
            (name, family) for family in sorted(set.intersection(*able) - {"vit", "clip", "dual"})
        ]
    return found


def image_cases() -> list[str]:
    """All objectives of images."""
    names = get_args(ObjectiveName)
    return [n for n in names if all("image encoder" in OBJECTIVE_NEEDS[p] for p in n.split("+"))]


def saved(documents: list[str], place: Path) -> Path:
    place.write_text("\n".join(documents), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    """The demo's corpus, some questions a document."""
    lines = []
    for path in sorted((demo_data() / "corpus").iterdir()):
        lines += [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    groups = [lines[n : n + QUESTIONS] for n in range(0, len(lines), QUESTIONS)]
    place = tmp_path_factory.mktemp("questions") / "corpus.txt"
    return saved([" ".join(group) for group in groups], place)


@pytest.fixture(scope="module")
def two_topics(tmp_path_factory) -> Path:
    """Documents of questions about one of two topics, so that halves of two may not fit."""
    topics: dict[str, list[str]] = {"lost_or_stolen_card": [], "pending_card_payment": []}
    for name in ("labels.csv", "test.csv"):
        with (demo_data() / name).open(encoding="utf-8", newline="") as file:
            for text, topic in csv.reader(file):
                topics.get(topic, []).append(text)
    rng = np.random.default_rng(0)
    documents = [
        " ".join(pool[n] for n in rng.choice(len(pool), QUESTIONS))
        for _ in range(3000)
        for pool in topics.values()
    ]
    return saved(documents, tmp_path_factory.mktemp("topics") / "corpus.txt")


@pytest.fixture(scope="module")
def headlines(tmp_path_factory) -> Path:
    """Chinese headlines, some a document."""
    path = data_dir("thucnews_titles") / "test.txt.gz"
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    lines = [line.split("\t")[0] for line in text.splitlines()[:6000]]
    groups = [lines[n : n + QUESTIONS] for n in range(0, len(lines), QUESTIONS)]
    place = tmp_path_factory.mktemp("headlines") / "corpus.txt"
    return saved(["，".join(group) for group in groups], place)


@dataclass
class Texts:
    """Makes a corpus into tokens once for each kind of tokenizer."""

    folder: Path
    made: dict[tuple[str, str, str], Prepared]

    def of(self, corpus: Path, settings: PretrainSettings) -> Prepared:
        style = find(settings.model.family).special_tokens
        key = (str(corpus), style, settings.data.tokenizer)
        if key not in self.made:
            self.made[key] = prepare_corpus(
                [corpus],
                settings,
                self.folder / f"tokens-{len(self.made)}",
                tokenizer=None,
                labelled=None,
                known=None,
                events=Silent(),
            )
        return self.made[key]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Texts:
    return Texts(tmp_path_factory.mktemp("tokens"), {})


def train_on_text(texts, corpus, **given):
    """The losses of all parts on unseen text, and those of the best constant answers."""
    name = given["objective.name"]
    parts = set(name.split("+"))
    own = NEXT if "nsp" in parts else {"budget": f"{STEPS} steps"}
    if parts == {"spans"}:
        own = {"budget": f"{2 * STEPS} steps"}
    if {"mlm", "spans"} <= parts:  # contrast is learnt first
        own = {"budget": f"{2 * STEPS} steps", "objective.mlm_weight": 5}
    given = {**TINY, **own, **given}
    if "contrast" in parts:
        given["model.dropout"] = 0.1
    settings = make_settings(PretrainSettings, given=given)
    prepared = texts.of(corpus, settings)
    model = _network(settings, prepared, None)
    what = make_objective(settings, prepared.vocabulary, model, lambda: prepared.importance)
    source, held_out = make_batches(settings, prepared.store, prepared.vocabulary, what)
    learner = Learner(model, what.heads(model, seed=0))
    Trainer(learner, what, source, train_settings(settings, model)).train()
    found = means(what, learner, held_out)
    return found, chances(what, source, held_out, size=prepared.vocabulary.size)


def check(found: dict[str, float], constant: dict[str, float]) -> None:
    assert set(found) == set(constant)
    for name, best in constant.items():
        margin = MARGINS[name] / len(constant)  # parts share the network and its steps
        assert found[name] < best - margin, f"{name}: {found[name]:.3f}, constant {best:.3f}"


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "family"), cases())
def test_it_beats_the_best_constant_answer_on_unseen_text(texts, request, objective, family):
    corpus = "two_topics" if "nsp" in objective.split("+") else "questions"
    given = {"objective.name": objective, "model.family": family}
    check(*train_on_text(texts, request.getfixturevalue(corpus), **given))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "family", "tokenizer"),
    [
        ("mlm", "bert", "wordpiece"),
        ("causal", "gpt", "bytes"),
        ("span_corruption", "t5", "bytes"),
    ],
)
def test_it_does_so_on_chinese(texts, headlines, objective, family, tokenizer):
    given = {"objective.name": objective, "model.family": family, "data.tokenizer": tokenizer}
    check(*train_on_text(texts, headlines, **given))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> np.ndarray:
    """Some images of CIFAR-10, (N, 3, 32, 32)."""
    place = tmp_path_factory.mktemp("photos") / "photos.parquet"
    table = pq.ParquetFile(data_dir("cifar10") / "test.parquet")
    some = next(table.iter_batches(COUNT_IMAGES))
    pq.write_table(pa.Table.from_batches([some]), place)
    return load_images(place, side=32).pixels


@pytest.mark.slow
@pytest.mark.parametrize("objective", image_cases())
def test_it_beats_the_best_constant_answer_on_unseen_images(photos, tmp_path, objective):
    settings = make_settings(PretrainSettings, given={**IMAGES, "objective.name": objective})
    model, frame = image_model(settings.model, settings.images, None, side=32)
    source, held_out = image_batches(settings, photos, frame)
    codes, _ = code_book(tmp_path, source, frame, count=32, seed=0, data="photos", events=Silent())
    what = image_objective(settings, model, frame, codes=codes)
    learner = Learner(model, what.heads(model, seed=0))
    Trainer(learner, what, source, train_settings(settings, model)).train()
    check(means(what, learner, held_out), image_chances(what, source, held_out))


def means(what, learner, held_out) -> dict[str, float]:
    """Mean losses of all parts on what was held out."""
    found = [part_of(what, learner, held_out, n) for n in range(held_out.batches_per_epoch)]
    counts = [count for _, count in found]
    return {
        part.name: float(np.average([parts[part.name] for parts, _ in found], weights=counts))
        for part in what.parts
    }


def part_of(what, learner, held_out, number) -> tuple[dict[str, float], int]:
    """Losses of all parts on one held-out batch."""
    learner.eval()
    if getattr(what, "views", 1) > 1:
        learner.train()  # views differ by dropout alone
    with torch.no_grad():
        batch = what.prepare(held_out.batch(number), np.random.default_rng(number), 1.0)
        there = next(learner.parameters()).device
        loss = what.loss(learner.model, learner.heads, batch.to(there))
    parts = {n: float(v) for n, v in loss.parts.items()} or {what.parts[0].name: float(loss.value)}
    return parts, loss.count


def batches(what, source, count: int) -> Iterator[object]:
    for number in range(count):
        yield what.prepare(source.batch(number), np.random.default_rng(number), 1.0)


def chances(what, source, held_out, *, size: int) -> dict[str, float]:
    """The loss of the best answer that does not look at the input, a part each.

    size: of the vocabulary.
    """
    seen = list(batches(what, source, min(40, source.batches_per_epoch)))
    unseen = list(batches(what, held_out, held_out.batches_per_epoch))
    found = {}
    for part in what.parts:
        name = part.name
        if name == "contrast":
            found[name] = candidates(unseen)
        elif name == "bow":
            met = np.ones(size)
            for batch in seen:
                met += np.bincount(*words(batch), minlength=size)
            met /= met.sum()
            losses = [-(words(b)[1] * np.log(met[words(b)[0]])).sum() / rows(b) for b in unseen]
            found[name] = float(np.mean(losses))
        else:
            found[name] = of_labels(name, seen, unseen, size=2 if name == "nsp" else size)
    return found


def of_labels(name, seen, unseen, *, size: int) -> float:
    """Cross-entropy of unseen labels with the distribution of the seen ones."""
    labels = [batch.targets[key] for batch in seen if (key := label_key(batch, name))]
    met = np.bincount(np.concatenate(labels), minlength=size) + 1.0
    met /= met.sum()
    asked = [batch.targets[key].numpy() for batch in unseen if (key := label_key(batch, name))]
    return float(-np.log(met[np.concatenate(asked)]).mean())


def candidates(unseen) -> float:
    """Of which one is right, the sequence itself left out."""
    return float(np.mean([np.log(len(batch.targets["contrast.of"]) - 1) for batch in unseen]))


def image_chances(what, source, held_out) -> dict[str, float]:
    """The same for images."""
    seen = list(batches(what, source, source.batches_per_epoch))
    unseen = list(batches(what, held_out, held_out.batches_per_epoch))
    found = {}
    for part in what.parts:
        name = part.name
        if name == "contrast":
            found[name] = candidates(unseen)
        elif name == "beit":
            found[name] = of_labels(name, seen, unseen, size=len(part.codes))
        else:
            met, asked = (
                np.concatenate([batch.targets[f"{name}.pixels"].numpy() for batch in some])
                for some in (seen, unseen)
            )
            away = asked - (met.mean(0) if name == "mae" else np.median(met, 0))
            found[name] = float((away**2 if name == "mae" else np.abs(away)).mean())
    return found


def words(batch) -> tuple[np.ndarray, np.ndarray]:
    return batch.targets["bow.at"][1].numpy(), batch.targets["bow.shares"].numpy()


def rows(batch) -> int:
    return len(batch.targets["bow.windows"])


def label_key(batch, name: str) -> str:
    """Where the right answers of a part are; hybrid's are those of the masked or next tokens."""
    key = f"{'mlm' if name == 'hybrid' else name}.labels"
    return key if key in batch.targets else ""

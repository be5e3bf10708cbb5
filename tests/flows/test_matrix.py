"""Every objective trains on every family that can do it, and beats answers that ignore the input.

Real text: the demo's customer questions. Real images: CIFAR-10, where it lies beside the project.
What is beaten is the best constant answer, computed here from the targets alone: the distribution
of all targets that training met (tokens, words, yes or no), the number of candidates (contrast), or
the mean of what is hidden (pixels).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from headstart.config import PretrainSettings
from headstart.events import Silent
from headstart.families import find
from headstart.recipes.building import (
    fresh_model,
    make_batches,
    make_objective,
    train_settings,
)
from headstart.recipes.demonstration import demo_data
from headstart.recipes.pretraining import Prepared, prepare_corpus
from headstart.sections import OBJECTIVE_NEEDS, ObjectiveName, families_for
from headstart.settings_file import make_settings
from headstart.train import Learner, Trainer

TINY = {
    "model.num_layers": 2,
    "model.hidden_size": 64,
    "model.num_heads": 2,
    "data.vocab_size": 800,
    "data.max_length": 48,
    "data.tokens_per_batch": 2048,
    "machine.threads": 1,
    "machine.precision": "fp32",
}
QUESTIONS = 4  # customer questions in one document, so that a document has parts
STEPS = {"nsp": 400, "mlm+nsp": 400}
# by how much each part's loss on unseen text must lie below that of the best constant answer
MARGINS = {
    "mlm": 0.5,
    "hybrid": 0.5,
    "causal": 0.8,
    "span_corruption": 0.5,
    "bow": 0.1,
    "nsp": 0.05,
    "contrast": 0.5,
}


def cases() -> list[tuple[str, str]]:
    """All pairs of an objective and a family that settings allow, images left out."""
    found = []
    for name in get_args(ObjectiveName):
        parts = name.split("+")
        able = [set(families_for(part)) for part in parts if part in OBJECTIVE_NEEDS]
        found += [(name, family) for family in sorted(set.intersection(*able) - {"vit", "clip"})]
    return found


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> Path:
    """The demo's corpus, some questions a document."""
    lines = []
    for path in sorted((demo_data() / "corpus").iterdir()):
        lines += [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    place = tmp_path_factory.mktemp("matrix") / "corpus.txt"
    groups = [lines[n : n + QUESTIONS] for n in range(0, len(lines), QUESTIONS)]
    place.write_text("\n".join(" ".join(group) for group in groups), encoding="utf-8")
    return place


@dataclass
class Texts:
    """Makes a corpus into tokens once for each kind of tokenizer."""

    corpus: Path
    folder: Path
    made: dict[str, Prepared]

    def of(self, settings: PretrainSettings) -> Prepared:
        key = f"{find(settings.model.family).special_tokens} {settings.data.tokenizer}"
        if key not in self.made:
            self.made[key] = prepare_corpus(
                [self.corpus],
                settings,
                self.folder / f"tokens-{len(self.made)}",
                tokenizer=None,
                labelled=None,
                known=None,
                events=Silent(),
            )
        return self.made[key]


@pytest.fixture(scope="module")
def texts(documents, tmp_path_factory) -> Texts:
    return Texts(documents, tmp_path_factory.mktemp("tokens"), {})


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "family"), cases())
def test_it_beats_the_best_constant_answer_on_unseen_text(texts, objective, family):
    given = {**TINY, "objective.name": objective, "model.family": family}
    given["budget"] = f"{STEPS.get(objective, 150)} steps"
    if "contrast" in objective:
        given["model.dropout"] = 0.1
    settings = make_settings(PretrainSettings, given=given)
    prepared = texts.of(settings)
    causal = True if "causal" in objective.split("+") else None
    model = fresh_model(
        settings.model, vocab_size=prepared.vocabulary.size, max_length=48, seed=0, causal=causal
    )
    what = make_objective(settings, prepared.vocabulary, model, lambda: prepared.importance)
    source, held_out = make_batches(settings, prepared.store, prepared.vocabulary, what)
    learner = Learner(model, what.heads(model, seed=0))
    Trainer(learner, what, source, train_settings(settings, model)).train()
    learnt = [part_of(what, learner, held_out, n) for n in range(held_out.batches_per_epoch)]
    chance = chances(what, source, held_out, vocabulary=prepared.vocabulary.size)
    assert set(chance) == {part.name for part in what.parts}
    for name, constant in chance.items():
        weights = [count for _, count in learnt]
        mean = float(np.average([parts[name] for parts, _ in learnt], weights=weights))
        assert mean < constant - MARGINS[name], f"{name}: {mean:.3f}, constant {constant:.3f}"


def part_of(what, learner, held_out, number) -> tuple[dict[str, float], int]:
    """Losses of all parts on one held-out batch."""
    learner.eval()
    if "contrast" in what.name and what.views > 1:
        learner.train()  # views differ by dropout alone
    with torch.no_grad():
        batch = what.prepare(held_out.batch(number), np.random.default_rng(number), 1.0)
        loss = what.loss(learner.model, learner.heads, batch)
    parts = {n: float(v) for n, v in loss.parts.items()} or {what.parts[0].name: float(loss.value)}
    return parts, loss.count


def batches(what, source, count: int) -> Iterator[object]:
    for number in range(count):
        yield what.prepare(source.batch(number), np.random.default_rng(number), 1.0)


def chances(what, source, held_out, *, vocabulary: int) -> dict[str, float]:
    """The loss of the best answer that does not look at the input, a part each."""
    seen = list(batches(what, source, min(40, source.batches_per_epoch)))
    unseen = list(batches(what, held_out, held_out.batches_per_epoch))
    found = {}
    for part in what.parts:
        name = part.name
        if name == "contrast":
            sizes = [len(batch.targets["contrast.of"]) for batch in unseen]
            found[name] = float(np.mean(np.log(np.array(sizes) - 1)))
        elif name == "bow":
            met = np.ones(vocabulary)
            for batch in seen:
                met += np.bincount(*words(batch), minlength=vocabulary)
            met /= met.sum()
            losses = [-(words(b)[1] * np.log(met[words(b)[0]])).sum() / rows(b) for b in unseen]
            found[name] = float(np.mean(losses))
        else:
            labels = [b.targets[key] for b in seen if (key := label_key(b, name))]
            met = np.bincount(np.concatenate(labels), minlength=vocabulary) + 1.0
            met /= met.sum()
            asked = [b.targets[key].numpy() for b in unseen if (key := label_key(b, name))]
            found[name] = float(-np.log(met[np.concatenate(asked)]).mean())
    return found


def words(batch) -> tuple[np.ndarray, np.ndarray]:
    return batch.targets["bow.at"][1].numpy(), batch.targets["bow.shares"].numpy()


def rows(batch) -> int:
    return len(batch.targets["bow.windows"])


def label_key(batch, name: str) -> str:
    """Where the right answers of a part are; hybrid's are those of the masked or next tokens."""
    key = f"{'mlm' if name == 'hybrid' else name}.labels"
    return key if key in batch.targets else ""

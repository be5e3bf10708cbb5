"""What is a CLIP of one's own worth? Pretrains on public pairs and keeps scores in a dated file.

Run as: python benchmarks/worth_clip.py fashion emoji emoji_zh --budget 30m --seeds 3

On the official test files: recall at 1, 5 and 10 both ways with 95 % intervals, beside canonical
correlation of colours and words, and chance; accuracy of the classes by their names alone, beside a
linear head on the image tower's frozen vectors, and the same image tower trained on the labels
from nothing, for as many steps. Every seed has its own pretraining and its own tower; the summary
has mean and standard deviation over them. The data sets are found by HEADSTART_DATA or in
../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import measure
import texts
from headstart.batch import Batch, Sequences
from headstart.config import PretrainSettings
from headstart.data.augment import Augmentation
from headstart.data.image_batches import ImageRows, Views
from headstart.data.images import LabelledImages, load_labelled_images
from headstart.data.loader import TokenBatches
from headstart.data.patches import PixelFrame
from headstart.evaluate.baselines import fit_linear
from headstart.evaluate.towers import Towers
from headstart.families import make_head, resolve, vit
from headstart.families.heads import SequenceHead
from headstart.families.model import Model
from headstart.nn import Patches
from headstart.objectives import Loss
from headstart.recipes.building import train_settings
from headstart.settings_file import make_settings
from headstart.train import Learner, Trainer

RESULTS = Path(__file__).resolve().parent / "results"
CODE = "import sys; from headstart.cli.main import main; sys.exit(main())"
QUICK = {
    "model.num_layers": "1",
    "model.hidden_size": "32",
    "model.num_heads": "1",
    "images.size": "16",
    "images.patch": "8",
}


@dataclass(frozen=True)
class Task:
    """A folder of pairs, the column of its captions, and a column of classes."""

    folder: str
    caption: str
    label: str


SETS = {
    "fashion": Task("fashion_products", "caption", "articleType"),
    "emoji": Task("emoji_captions", "caption", "category"),
    "emoji_zh": Task("emoji_captions", "caption_zh", "category"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", choices=sorted(SETS))
    parser.add_argument("--budget", default="30m")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="show that it runs; measures nothing")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    overrides = dict(item.split("=", 1) for item in options.overrides)
    if options.quick:
        options.budget, overrides = "2 steps", {**QUICK, **overrides}
    for name in options.sets:
        runs = []
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory(prefix="headstart-clip-") as place:
                run = Path(place) / "run"
                runs.append(scores(SETS[name], run, options.budget, overrides, seed=seed))
            print(name, seed, json.dumps(main_scores(runs[-1])), flush=True)
        record = {
            "budget": options.budget,
            "settings": overrides,
            "summary": summary([main_scores(run) for run in runs]),
            "runs": runs,
        }
        print(json.dumps(record["summary"], indent=1), flush=True)
        if options.quick:
            continue
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        facts = {"set": name, "machine": measure.machine(), "versions": measure.versions()}
        text = json.dumps({**facts, **record}, indent=1, ensure_ascii=False) + "\n"
        (options.results / f"{day}-worth-clip-{name}.json").write_text(text, encoding="utf-8")


def scores(
    task: Task, run: Path, budget: str, overrides: Mapping[str, str], *, seed: int
) -> dict[str, Any]:
    """Everything that is measured on one set with one seed."""
    train, test = (texts.data(f"{task.folder}/{part}.parquet") for part in ("train", "test"))
    given = [f"--set={key}={value}" for key, value in overrides.items()]
    given += [f"--set=pairs.caption={task.caption}", f"--seed={seed}"]
    made = headstart("pretrain", train, "--out", run, "--budget", budget, *given)
    made.pop("folder")  # a place of this machine
    found = headstart("evaluate", run, test, "--text", task.caption)
    named = headstart("evaluate", run, test, "--label", task.label)
    towers = Towers.open(resolve(run))
    labelled = [
        load_labelled_images(path, side=towers.frame.image_size, label=task.label, kind="classes")
        for path in (train, test)
    ]
    return {
        "seed": seed,
        "pretrained": made,
        "retrieval": found,
        "zero-shot": named,
        "linear head": linear(towers, *labelled),
        "supervised tower": supervised(run, towers.frame, *labelled, seed=seed),
    }


def main_scores(run: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one seed that are compared."""
    found = {
        f"{side}, {way}, recall at {one['at']}": one["value"]
        for side in ("model", "baseline")
        for way in ("to_text", "to_image")
        for one in run["retrieval"][side][way]
    }
    found["zero-shot accuracy"] = run["zero-shot"]["others"]["accuracy"]
    for name in ("linear head", "supervised tower"):
        found[f"{name}, accuracy"] = run[name]["accuracy"]
    return found


def summary(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation of each figure over the seeds."""
    columns = {name: [run[name] for run in runs] for name in runs[0]}
    return {
        name: {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None}
        for name, values in columns.items()
    }


def headstart(*words: object) -> dict[str, object]:
    """What one command says, as JSON."""
    command = [sys.executable, "-c", CODE, *map(str, words), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def gold_of(train: LabelledImages, test: LabelledImages) -> np.ndarray:
    """The test's labels as class numbers of training; -1 for classes that training lacks."""
    number = {name: n for n, name in enumerate(train.classes)}
    return np.array([number.get(name, -1) for name in test.classes])[test.labels]


def linear(towers: Towers, train: LabelledImages, test: LabelledImages) -> dict[str, float]:
    """Accuracy of a linear head on frozen vectors of the image tower, from all training labels."""
    gold = gold_of(train, test)
    head = fit_linear(towers.images(train.images.pixels), train.labels, kind="classes", seed=0)
    answers = head.predict(towers.images(test.images.pixels))
    return {"accuracy": float((answers == gold).mean()), "rows": float(len(gold))}


class FromLabels:
    """The objective of a supervised tower: the class of each image."""

    name = "classes"

    def __init__(self, frame: PixelFrame):
        self.frame = frame

    def prepare(
        self, sequences: Sequences, rng: np.random.Generator, progress: float = 0.0
    ) -> Batch:
        inputs, layout = self.frame.lay_out(sequences)
        labels = torch.from_numpy(sequences.fields["label"])
        return Batch(inputs, {"tokens": layout}, {"label": labels}, self.name)

    def loss(self, model: Model, heads: nn.ModuleDict, batch: Batch) -> Loss:
        gold = batch.targets["label"]
        return Loss(nn.functional.cross_entropy(self.answers(model, heads, batch), gold), len(gold))

    def answers(self, model: Model, heads: nn.ModuleDict, batch: Batch) -> Tensor:
        head = heads[self.name]
        assert isinstance(head, SequenceHead)
        return head(model.encode(batch), batch.layout["tokens"]).float()


def supervised(
    run: Path, frame: PixelFrame, train: LabelledImages, test: LabelledImages, *, seed: int
) -> dict[str, float]:
    """Accuracy of a ViT of the image tower's sizes, trained on all labels with the run's settings,
    augmentation and number of steps.
    """
    settings = make_settings(PretrainSettings, file=run / "run.yaml")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = max(json.loads(line).get("step", 0) for line in lines)
    layers, hidden, heads, inner = settings.model.shape()
    model = vit.build(
        num_layers=layers,
        hidden_size=hidden,
        num_heads=heads,
        intermediate_size=inner,
        patches=Patches(image_size=frame.image_size, patch_size=frame.patch_size),
        seed=seed,
    )
    head = make_head(model, "sequence", outputs=len(train.classes), seed=seed)
    rows = ImageRows(train.images.pixels, tokens=1, fields={"label": train.labels})
    batches = TokenBatches(rows, tokens_per_batch=settings.pairs.batch, seed=seed)
    how = Augmentation(scale=(settings.images.crop or 0.9, 1.0), mirror=settings.images.mirror)
    source = Views(batches, side=frame.image_size, seed=seed, how=how)
    objective = FromLabels(frame)
    told = settings.model_copy(update={"budget": PretrainSettings(budget=f"{steps} steps").budget})
    learner = Learner(model, nn.ModuleDict({objective.name: head}))
    trainer = Trainer(learner, objective, source, train_settings(told, model))
    trainer.train()
    gold = gold_of(train, test)
    seen = ImageRows(test.images.pixels, tokens=1, fields={"label": test.labels})
    answers = []
    with torch.no_grad():
        for begin in range(0, len(seen), 256):
            part = seen.take(np.arange(begin, min(begin + 256, len(seen))))
            batch = objective.prepare(part, np.random.default_rng(0)).to(trainer.precision.device)
            answers.append(objective.answers(model, learner.heads, batch).argmax(1).cpu().numpy())
    right = np.concatenate(answers) == gold
    return {"accuracy": float(right.mean()), "steps": float(steps), "rows": float(len(gold))}


if __name__ == "__main__":
    main()

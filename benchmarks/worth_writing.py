"""Does span corruption pay for writing? E-mails to subjects, against a twin with fresh weights.

Run as: python benchmarks/worth_writing.py --corpus bodies --budget 30m
        python benchmarks/worth_writing.py --corpus novels --budget 30m

A T5 is pretrained on the bodies of AESLC's training e-mails, or on English novels, and learns to
write subjects from so many labelled e-mails, three times over with other rows. Its twin is the same
network with fresh weights and the same tokenizer; its rate and passes are tuned. Test e-mails, and
near copies of them, are in neither corpus nor training rows. The data sets are found by
HEADSTART_DATA or in ../shared/data beside the repository. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from headstart.data.dataset import Labelled, load_labelled
from headstart.data.files import read_documents
from headstart.data.leaks import find_leaks
from headstart.data.record import Document
from headstart.evaluate.statistics import paired_difference
from headstart.evaluate.transfer import Start
from headstart.evaluate.transfer_settings import TransferSettings
from headstart.evaluate.wording import (
    LEADING,
    LOSS,
    first_sentence,
    first_words,
    loss_spread,
    most_frequent,
    usual_words,
    wording,
)
from headstart.evaluate.writing import Writing, choose_to_write, learn_to_write, ways_to_write
from headstart.families import build_model, load_model
from headstart.families.written import Habits
from headstart.recipes.text_medium import text_start
from headstart.recipes.writing import pairs_of
from headstart.serve.author import Author
from headstart.train import TrainSettings
from headstart.train.precision import choose_precision
from headstart.train.run import machine, versions

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("HEADSTART_DATA", ROOT.parent / "shared" / "data"))
LOSSLESS = {"data.tokenizer": "bpe", "data.lowercase": False}
SMALL = {  # for --quick
    "model.num_layers": 1,
    "model.hidden_size": 64,
    "model.num_heads": 2,
    "data.tokens_per_batch": 1024,
    "data.vocab_size": 1000,
}


def emails(split: str) -> Labelled:
    """E-mails with their subjects."""
    path = DATA / "aeslc" / f"{split}.jsonl.gz"
    return load_labelled(
        path, text="email", label="subject", kind="text", bad_rows="skip", written=True
    )


def corpus(name: str, train: Labelled, test: Labelled) -> list[str]:
    """Unlabelled texts, without the test e-mails."""
    texts = train.texts
    if name == "novels":
        path = DATA / "novels_en" / "train.jsonl.gz"
        found = read_documents([path], text="text")
        texts = [part for one in found if isinstance(one, Document) for part in pieces(one.text)]
    dropped = find_leaks(test=test.texts, train=texts).train_drop
    return [text for number, text in enumerate(texts) if number not in dropped]


def pieces(novel: str, *, size: int = 2000) -> list[str]:
    """A novel cut at line ends into texts of about so many characters."""
    parts: list[str] = [""]
    for line in novel.split("\n"):
        if len(parts[-1]) > size:
            parts.append("")
        parts[-1] += line + "\n"
    return parts


def some(rows: Labelled, count: int, *, seed: int) -> Labelled:
    """So many rows, drawn at random; all if there are no more."""
    order = np.random.default_rng([0x5B, seed]).permutation(len(rows))
    return rows.take(order[:count])


def twin(start: Start) -> Start:
    """The same network with fresh weights, and the same tokenizer."""
    model = start.model
    fresh = build_model(model.config, family=model.family, style=model.style, seed=0)
    return Start(fresh, start.frame, pretrained=False, tokenizer=start.tokenizer, name="scratch")


def cells(
    start: Start, train: Labelled, test: Labelled, how: TransferSettings, *, count: int, seeds: int
) -> dict[str, Any]:
    """Scores of one arm at one label count, over seeds."""
    texts, losses, seconds = [], [], []
    choice = None
    for seed in range(seeds):
        rows = some(train, count, seed=seed)
        subjects = rows.labels.tolist()
        habits = Habits(usual_words(subjects), most_frequent(subjects))
        pairs = pairs_of(rows, start)
        if choice is None:  # made once, within the first draw, and kept for the others
            options = ways_to_write(start, "full", how)
            choice = choose_to_write(start, pairs, options, habits=habits, seed=seed)
        one: Writing = learn_to_write(
            start,
            pairs,
            choice.candidate.method,
            settings=choice.candidate.settings,
            habits=habits,
            seed=seed,
        )
        assert start.tokenizer is not None
        author = Author(one, start.tokenizer)
        texts.append(author.write(test.texts))
        losses.append(author.losses(test.texts, test.labels.tolist()))
        seconds.append(round(one.cost_s, 1))
        print(f"  {start.name} {count} labels, seed {seed}: {one.cost_s:.0f} s", flush=True)
    gold = test.labels.tolist()
    sums, counts = (np.stack([one[part] for one in losses]) for part in (0, 1))
    spreads = {**wording(texts, gold), LOSS: loss_spread(sums, counts)}
    return {
        "scores": {name: asdict(one) for name, one in spreads.items()},
        LEADING: [wording([one], gold)[LEADING].value for one in texts],
        LOSS: (sums.sum(1) / counts.sum(1)).tolist(),
        "chosen": choice.candidate.name if choice else "",
        "tried": dict(choice.scores) if choice else {},
        "seconds": seconds,
        "examples": [
            {"subject": wanted, "written": text}
            for wanted, text in zip(gold[:5], texts[0][:5], strict=True)
        ],
    }


def gap(own: Sequence[float], control: Sequence[float]) -> dict[str, float]:
    """Own minus control over paired seeds, with its interval."""
    found = paired_difference(own, control)
    return {"mean": found.mean, "low": found.interval.low, "high": found.interval.high}


def pretrained(
    texts: list[str], options: argparse.Namespace, place: Path
) -> tuple[Start, dict[str, float]]:
    """A T5 that has learnt to fill in hidden spans of these texts, and what that took."""
    path = place / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    run = hs.pretrain(
        path,
        family="t5",
        size=options.size,
        budget=options.budget,
        text="text",
        out=place / "run",
        threads=options.threads,
        settings={**LOSSLESS, **(SMALL if options.quick else {})},
    )
    facts = {"texts": len(texts), "steps": run.steps, "seconds": run.seconds}
    start = replace(text_start(load_model(run.model), "own"), name="own")
    return start, {**facts, "held_out_loss": run.held_out_loss}


def controls(train: Labelled, test: Labelled) -> dict[str, object]:
    """Scores of what has learnt nothing."""
    gold, subjects = test.labels.tolist(), train.labels.tolist()
    words = usual_words(subjects)
    texts = {
        "first sentence": [first_sentence(text) for text in test.texts],
        f"first {words} words": [first_words(text, words) for text in test.texts],
        "most frequent subject": [most_frequent(subjects)] * len(gold),
    }
    return {
        name: {score: asdict(one) for score, one in wording([found], gold).items()}
        for name, found in texts.items()
    }


def compared(
    own: Start, train: Labelled, test: Labelled, how: TransferSettings, options: argparse.Namespace
) -> dict[str, object]:
    """Both arms at every label count, and their gaps."""
    table: dict[str, object] = {}
    for count in [int(word) for word in options.labels.split(",")]:
        arms = {
            arm.name: cells(arm, train, test, how, count=count, seeds=options.seeds)
            for arm in (own, twin(own))
        }
        gaps = {name: gap(arms["own"][name], arms["scratch"][name]) for name in (LEADING, LOSS)}
        table[str(count)] = {**arms, "own minus scratch": gaps}
        print(count, gaps, flush=True)
    return table


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", choices=["bodies", "novels"], default="bodies")
    parser.add_argument("--budget", default="30m")
    parser.add_argument("--size", default="mini")
    parser.add_argument("--labels", default="200,1000,5000")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test-rows", type=int, default=500)
    parser.add_argument("--epochs", type=float, default=10)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--quick", action="store_true", help="one minute, to see that it runs")
    parser.add_argument("--results", default=str(ROOT / "benchmarks" / "results"))
    options = parser.parse_args()
    if options.quick:
        options.budget, options.labels, options.epochs = "10 steps", "60", 1
        options.seeds, options.test_rows = 2, 24
    return options


def main() -> None:
    options = read_options()
    began = time.perf_counter()
    train, test = emails("train"), some(emails("test"), options.test_rows, seed=0)
    leaks = find_leaks(test=test.texts, train=train.texts)
    train = train.take(np.setdiff1d(np.arange(len(train)), sorted(leaks.train_drop)))
    print(f"{len(train)} training and {len(test)} test e-mails; {leaks}", flush=True)
    texts = corpus(options.corpus, train, test)[: 300 if options.quick else None]
    how = TransferSettings(epochs=options.epochs, threads=options.threads or 0, target_length=32)
    if options.quick:
        how = replace(how, min_steps=10)
    with tempfile.TemporaryDirectory() as place:
        own, facts = pretrained(texts, options, Path(place))
    print(f"pretrained: {facts}", flush=True)
    precision = choose_precision(TrainSettings(threads=options.threads or 0))
    record = {
        "settings": {name: value for name, value in vars(options).items() if name != "results"},
        "test_rows": len(test),
        "training_rows": len(train),
        "pretraining": facts,
        "labels": compared(own, train, test, how, options),
        "controls": controls(train, test),
        "minutes": (time.perf_counter() - began) / 60,
        "machine": machine(precision),
        "versions": versions(),
    }
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    target = Path(options.results) / f"{day}-worth-writing-{options.corpus}.json"
    target.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()

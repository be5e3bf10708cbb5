"""Pretrain and report on the packaged demo data: real text, tiny network."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart.errors import InputError, Interrupted
from headstart.families import load_model
from headstart.recipes.demonstration import demo_data

TINY = {
    "model.num_layers": 1,
    "model.hidden_size": 64,
    "model.num_heads": 2,
    "data.vocab_size": 1500,
    "data.max_length": 48,
    "data.tokens_per_batch": 2048,
    "machine.threads": 1,
}


class Notes:
    """Listens, remembers, and may stop the work at a stage."""

    def __init__(self, stop_at: str = ""):
        self.lines, self.notes, self.stages, self.stop_at = [], [], [], stop_at

    def plan(self, lines):
        self.lines += [str(line) for line in lines]

    def note(self, text):
        self.notes.append(str(text))

    def progress(self, stage, done, total, detail=""):
        self.stages.append(stage)
        if self.stop_at and self.stop_at in detail:
            raise Interrupted("stopped by the test")


def corpus(folder: Path, *, shuffle: bool = False, most: int = 1500) -> Path:
    """The first texts of the demo's corpus, perhaps with their words in any order."""
    lines = []
    for path in sorted((demo_data() / "corpus").iterdir()):
        lines += path.read_text(encoding="utf-8").splitlines()
    rng = np.random.default_rng(0)
    chosen = lines[:most]
    if shuffle:
        words = np.array([word for line in chosen for word in line.split()])
        words = rng.permutation(words).tolist()
        chosen = [" ".join(words.pop() for _ in line.split()) for line in chosen]
    place = folder / "corpus.txt"
    place.write_text("\n".join(chosen), encoding="utf-8")
    return place


def report(folder: Path, *, labels: Path, texts: Path, counts=(60, 200), events=None, **given):
    return hs.report(
        labels,
        corpus=texts,
        test=demo_data() / "test.csv",
        labels=list(counts),
        seeds=2,
        budget="24s",
        out=folder / "run",
        settings={**TINY, "pretrain_share": 0.25, "transfer.epochs": 1, **given},
        events=events,
    )


def test_a_report_ends_with_a_verdict_a_page_and_every_arm(tmp_path):
    notes = Notes()
    made = report(tmp_path, labels=demo_data() / "labels.csv", texts=corpus(tmp_path), events=notes)
    record = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert made.verdict.kind in ("pays", "pays below", "pays from", "does not pay", "cannot tell")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert str(tmp_path) not in page
    arms = {cell["arm"] for cell in record["cells"]}
    assert arms == {
        "majority",
        "tfidf",
        "lsa",
        "own-probe",
        "own-probe+lsa",
        "scratch",
        "own-full",
        "own-lora",
        "own-partial",
    }
    assert any("in the test file" in note for note in notes.notes)  # the leaks were counted
    assert load_model(tmp_path / "run" / "pretrained" / "model").family.name == "modern"
    scores = {(c["arm"], c["labels"]): c["score"] for c in record["cells"] if c["seed"] == 0}
    assert scores["tfidf", 200] > scores["majority", 200] + 0.2
    done = [cell for cell in record["cells"] if cell["status"] == "done"]
    # reading the inputs is a cost, of whatever had time to run
    assert {c["arm"] for c in done if not c["before"] > 0} == {"majority"}


def test_a_stopped_report_goes_on_with_its_finished_cells(tmp_path):
    labels, texts = demo_data() / "labels.csv", corpus(tmp_path)
    with pytest.raises(Interrupted):
        report(tmp_path, labels=labels, texts=texts, events=Notes("own-probe, 200 labels, seed 1"))
    cells = (tmp_path / "run" / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(cells) > 10
    notes = Notes()
    report(tmp_path, labels=labels, texts=texts, events=notes)
    assert "pretrain" not in notes.stages  # it was finished
    after = (tmp_path / "run" / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    assert after[: len(cells)] == cells
    with pytest.raises(
        InputError, match=r"pretrained with data\.max_length=48 instead of 40: undo"
    ):
        report(tmp_path, labels=labels, texts=texts, **{"data.max_length": 40})


@pytest.mark.slow
def test_shuffled_labels_never_pay(tmp_path):
    with (demo_data() / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    answers = [row["label"] for row in rows]
    np.random.default_rng(0).shuffle(answers)
    place = tmp_path / "shuffled.csv"
    with place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((row["text"], y) for row, y in zip(rows, answers, strict=True))
    made = report(tmp_path, labels=place, texts=corpus(tmp_path))
    assert not made.verdict.kind.startswith("pays")


@pytest.mark.slow
def test_a_corpus_of_shuffled_tokens_never_pays(tmp_path):
    labels = demo_data() / "labels.csv"
    made = report(tmp_path, labels=labels, texts=corpus(tmp_path, shuffle=True))
    assert not made.verdict.kind.startswith("pays")


def test_a_count_of_labels_that_there_are_not_is_said_and_left_out(tmp_path):
    notes = Notes()
    report(
        tmp_path,
        labels=demo_data() / "labels.csv",
        texts=corpus(tmp_path, most=300),
        events=notes,
        counts=(60, 5000),
        arms=["majority", "own-probe"],
    )
    said = [note for note in notes.notes if "left out of the curve" in note]
    assert said == ["5000 labels are more than the 561 there are: left out of the curve"]
    record = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert {cell["arm"] for cell in record["cells"]} == {"majority", "own-probe"}
    assert record["label_counts"] == [60]


def test_a_report_without_anything_to_pretrain_on_says_what_to_give(tmp_path):
    with pytest.raises(InputError) as caught:
        hs.report(demo_data() / "labels.csv", out=tmp_path / "run")
    assert str(caught.value) == (
        "nothing to pretrain on: give corpus= (files, folders) or start= (a run)"
    )

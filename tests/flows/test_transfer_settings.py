"""Settings of a transfer where a corpus is needed: self-training in finetune and in report."""

import csv
import json

import numpy as np
import pytest

import headstart as hs
from headstart.data.text import train_tokenizer
from headstart.errors import InputError
from headstart.families import find, save_model
from headstart.recipes import report_media

SETTINGS = {"data.max_length": 32, "machine.threads": 1, "machine.precision": "fp32"}
TOPICS = {
    "card": ["card", "lost", "stolen", "blocked", "pin", "chip", "bank", "plastic"],
    "money": ["money", "transfer", "pending", "cash", "euro", "refund", "paid", "fee"],
}
TEXT = "the a my is was in on to and please help why when"
WORDS = TEXT.split()


class Notes:
    def __init__(self):
        self.notes = []

    def plan(self, lines):
        pass

    def progress(self, stage, done, total, detail=""):
        pass

    def note(self, text):
        self.notes.append(str(text))


def texts(count: int, seed: int) -> list[tuple[str, str]]:
    """Texts with their topics; one word in five is of the topic."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        topic = list(TOPICS)[number % 2]
        own = rng.random(12) < 0.2
        words = [str(rng.choice(TOPICS[topic] if mine else WORDS)) for mine in own]
        rows.append((" ".join(words), topic))
    return rows


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("topics")
    write(place / "train.csv", texts(24, 1))
    test = texts(200, 2)
    write(place / "test.csv", test)
    corpus = [text for text, _ in [*texts(300, 3), *test[:50]]]
    (place / "corpus.txt").write_text("\n".join(corpus), encoding="utf-8")
    tokenizer = train_tokenizer(corpus, vocab_size=300)
    model = find("modern").build(
        num_layers=1,
        hidden_size=48,
        num_heads=2,
        vocab_size=tokenizer.get_vocab_size(),
        max_positions=32,
    )
    save_model(model, {}, place / "start", tokenizer=tokenizer)
    return place


def finetune(folder, out, events=None, **settings):
    return hs.finetune(
        folder / "train.csv",
        start=folder / "start",
        method="probe",
        test=folder / "test.csv",
        out=folder / out,
        settings={**SETTINGS, **settings},
        events=events,
    )


def test_finetune_uses_the_corpus_without_the_texts_that_are_measured_on(folder):
    corpus = {"corpus": [str(folder / "corpus.txt")]}
    plain = finetune(folder, "plain", **corpus)
    notes = Notes()
    helped = finetune(folder, "helped", notes, **corpus, **{"transfer.self_training": 2})
    said = [note for note in notes.notes if note.startswith("self-training: ")]
    assert said == ["self-training: 300 texts without labels, 50 left out that leak"]
    rows = [text for text, _ in texts(40, 7)]
    one, other = (np.array([a.share for a in made.predict(rows)]) for made in (plain, helped))
    assert np.abs(one - other).max() > 1e-3


def test_self_training_is_refused_for_numbers(folder):
    rows = [(text, str(len(text) / 7)) for text, _ in texts(24, 1)]
    write(folder / "numbers.csv", rows)
    with pytest.raises(InputError) as caught:
        hs.finetune(
            folder / "numbers.csv",
            start=folder / "start",
            method="probe",
            out=folder / "numbers",
            settings={**SETTINGS, "corpus": ["corpus.txt"], "transfer.self_training": 1},
        )
    assert str(caught.value) == (
        f"{folder / 'numbers.csv'}: transfer.self_training is for labels that are classes, but "
        "these are number: leave it out, or say what they are with data.kind"
    )


def scores(folder, out, **settings):
    arms = ["tfidf", "lsa", "own-probe", "own-probe+lsa"]
    hs.report(
        folder / "train.csv",
        corpus=folder / "corpus.txt",
        start=folder / "start",
        test=folder / "test.csv",
        labels=[8],
        seeds=2,
        budget="60s",
        out=folder / out,
        settings={**SETTINGS, "arms": arms, **settings},
    )
    record = json.loads((folder / out / "report.json").read_text(encoding="utf-8"))
    return {(c["arm"], c["seed"]): c["score"] for c in record["cells"]}


def test_every_linear_arm_of_a_report_is_self_trained_alike(folder):
    plain = scores(folder, "report-plain")
    helped = scores(folder, "report-helped", **{"transfer.self_training": 2})
    assert plain.keys() == helped.keys()
    changed = {arm for (arm, seed), score in plain.items() if helped[arm, seed] != score}
    assert changed == {"tfidf", "lsa", "own-probe", "own-probe+lsa"}


def test_a_report_reads_the_texts_for_self_training_once(folder, monkeypatch):
    read = []
    once = report_media.pool_of_texts
    monkeypatch.setattr(
        report_media, "pool_of_texts", lambda *a, **k: read.append(1) or once(*a, **k)
    )
    scores(folder, "report-once", **{"transfer.self_training": 1})
    assert len(read) == 1

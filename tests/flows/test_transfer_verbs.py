"""Fine-tune, evaluate, predict and compare on a real data set: SMS spam."""

import csv
import gzip
import json
import re

import pytest

import headstart as hs
from headstart.config import FinetuneSettings, LabelSettings, ModelSettings
from headstart.data.text import train_tokenizer
from headstart.errors import InputError
from headstart.families import digests, find, save_model
from headstart.recipes import answering, finetuning, text_medium
from real_data import data_dir

SMALL = {
    "model.num_layers": 1,
    "model.hidden_size": 32,
    "model.num_heads": 2,
    "data.vocab_size": 500,
    "data.max_length": 48,
    "machine.threads": 1,
    "machine.precision": "fp32",
    "transfer.epochs": 2,
}


class Notes:
    """Listens and remembers."""

    def __init__(self):
        self.plans, self.notes, self.stages = [], [], set()

    def plan(self, lines):
        self.plans += lines

    def progress(self, stage, done, total, detail=""):
        self.stages.add(stage)

    def note(self, text):
        self.notes.append(str(text))


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def messages():
    with gzip.open(next(data_dir("sms_spam").glob("*.gz")), "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t", 1)[::-1] for line in file]
    spam = [row for row in rows if row[1] == "spam"]
    ham = [row for row in rows if row[1] == "ham"]
    return [row for pair in zip(spam, ham, strict=False) for row in pair]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, messages):
    place = tmp_path_factory.mktemp("spam")
    repeated = messages[300]
    write(place / "train.csv", [*messages[:240], repeated])
    write(place / "test.csv", messages[300:450])
    return place


@pytest.fixture(scope="module")
def start(folder, messages):
    """An encoder with a tokenizer, as pretraining leaves one; its weights are random."""
    tokenizer = train_tokenizer([text for text, _ in messages], vocab_size=800)
    model = find("modern").build(
        num_layers=2, hidden_size=48, num_heads=2, vocab_size=800, max_positions=64
    )
    return save_model(model, {}, folder / "start", tokenizer=tokenizer)


@pytest.fixture(scope="module")
def probed(folder, start):
    notes = Notes()
    fitted = hs.finetune(
        folder / "train.csv",
        start=start,
        method="probe",
        test=folder / "test.csv",
        out=folder / "probed",
        settings=SMALL,
        events=notes,
    )
    return fitted, notes


@pytest.fixture(scope="module")
def tuned(folder, start):
    return hs.finetune(
        folder / "train.csv",
        start=start,
        method="full",
        seeds=2,
        test=folder / "test.csv",
        out=folder / "tuned",
        settings=SMALL,
    )


def test_a_probe_learns_and_leaves_a_whole_run_folder(probed, folder):
    fitted, notes = probed
    result = fitted.result
    assert (result.method, result.seeds, result.measured.rows) == ("probe", 1, 150)
    assert result.measured.metric == "accuracy"
    assert result.measured.score > 0.7  # of a random encoder
    assert result.measured.low < result.measured.score < result.measured.high
    assert set(result.measured.per_class) == {"ham", "spam"}
    names = {path.name for path in (folder / "probed").iterdir()}
    assert names >= {"run.yaml", "model", "metrics.jsonl", "lineage.json"}
    lineage = json.loads((folder / "probed" / "lineage.json").read_text())
    assert lineage["parent"] == str(folder / "start")
    assert set(lineage["data"]) == {"labels", "test"}
    assert any("train.csv: text 'text', label 'label', classes (2)" in n for n in notes.notes)


def test_a_training_row_that_the_test_file_repeats_is_left_out(probed, folder):
    _, notes = probed
    found = [re.match(r"(\d+) labelled examples", line) for line in notes.plans]
    rows = next(int(match[1]) for match in found if match)
    assert 200 < rows <= 240  # of 241; spam has more near copies than the one planted
    assert len(notes.notes) >= 3


def test_evaluate_gives_the_score_that_finetune_measured(probed, folder):
    fitted, _ = probed
    again = fitted.evaluate(folder / "test.csv")
    assert again == fitted.result.measured


def test_predict_answers_in_order_for_texts_and_files(probed, folder, messages):
    fitted, _ = probed
    texts = [text for text, _ in messages[300:340]]
    answers = fitted.predict(texts)
    assert [answer.text for answer in answers] == texts
    assert fitted.predict(texts[7])[0].share == pytest.approx(answers[7].share, abs=1e-5)
    right = sum(a.label == gold for a, (_, gold) in zip(answers, messages[300:340], strict=True))
    assert right >= 30
    from_file = hs.predict(folder / "probed", str(folder / "test.csv"))
    assert [answer.label for answer in from_file[:40]] == [answer.label for answer in answers]


def test_fine_tuning_runs_every_seed_and_writes_its_steps(tuned, folder):
    result = tuned.result
    assert (result.method, result.seeds) == ("full", 2)
    assert result.measured.score > 0.7
    lines = [json.loads(line) for line in (folder / "tuned" / "metrics.jsonl").open()]
    assert {line["seed"] for line in lines} == {0, 1}
    assert sum("loss" in line for line in lines) == 2 * 100
    assert json.loads((folder / "tuned" / "lineage.json").read_text())["cost"]["steps"] == 200


def test_the_run_opens_in_stock_transformers_with_the_same_answers(tuned, messages):
    from transformers import pipeline

    texts = [text for text, _ in messages[300:320] if len(text) < 100]
    stock = pipeline("text-classification", model=tuned.folder + "/model", device="cpu")
    theirs = stock(texts)
    ours = tuned.predict(texts)
    assert [one["label"] for one in theirs] == [one.label for one in ours]
    for one, other in zip(theirs, ours, strict=True):
        assert one["score"] == pytest.approx(other.share, abs=1e-3)


def test_comparing_a_run_with_itself_finds_no_difference(probed, tuned, folder):
    same = hs.compare(folder / "probed", folder / "probed", test=folder / "test.csv")
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
    assert same.verdict.startswith("no difference between ")
    both = hs.compare(folder / "probed", folder / "tuned")  # the test file is in both run.yaml
    assert both.first_score == pytest.approx(probed[0].result.measured.score)
    assert both.low <= both.difference <= both.high


def test_runs_are_compared_on_columns_that_are_named(probed, folder, tmp_path):
    with (folder / "test.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["label"], "note", row["text"]) for row in csv.DictReader(file)]
    path = tmp_path / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "text", "c"), *rows])
    run = folder / "probed"
    same = hs.compare(run, run, test=path, text="c", label="a")
    assert same.first_score == probed[0].result.measured.score


def test_scratch_trains_its_own_tokenizer_and_holds_out_rows_to_measure_on(folder):
    notes = Notes()
    fitted = hs.finetune(
        folder / "train.csv", seeds=1, out=folder / "scratch", settings=SMALL, events=notes
    )
    assert fitted.result.measured.rows == 48
    assert any("48 of the labelled rows are held out" in note for note in notes.notes)
    assert any("scratch" in line for line in notes.plans)
    assert len(fitted.predict("win a free prize now")) == 1


def test_rows_that_repeat_a_row_held_out_to_measure_on_are_not_learnt_from(tmp_path):
    words = ["card", "fee", "pin", "bank", "rate", "cash", "order", "phone", "limit", "refund"]
    rows = [
        (f"{one} {two} {three}", "heads" if (i + 2 * j + k) % 4 < 2 else "tails")
        for i, one in enumerate(words)
        for j, two in enumerate(words)
        for k, three in enumerate(words)
        if (i + j + k) % 10 == 0
    ]
    path, notes = write(tmp_path / "twice.csv", rows * 2), Notes()
    read = finetuning.read_rows_for(
        path,
        text_medium.TextMedium("start", None, LabelSettings(), ModelSettings(), 0),
        FinetuneSettings(),
        notes,
    )
    held = set(read.held.texts)
    assert len(read.held) == 40
    assert not held & set(read.learn.texts)
    assert len(read.learn) == 200 - 2 * len(held)
    repeats = 200 - 40 - len(read.learn)
    assert notes.notes[-1] == (
        f"{repeats} labelled rows repeat one that is held out: left out of training"
    )


def test_a_file_of_one_row_repeated_is_not_measured_on_itself(tmp_path, start):
    path = write(tmp_path / "same.csv", [("the same text", "ham"), ("the same text", "spam")] * 10)
    with pytest.raises(InputError) as caught:
        hs.finetune(path, start=start, out=tmp_path / "run", settings=SMALL)
    assert str(caught.value) == (
        f"{path}: every row that is left to learn from stands among those held out for testing "
        "too. Add rows, or give a test file with --test"
    )


BAD = [
    (
        "text\nhello there my friend\nhow are you doing\n",
        "bad.csv: no column looks like labels (found: text). Name it with --label COLUMN.",
    ),
    (
        "text,label\nhello,ham\nbye,ham\nagain,ham\n",
        "bad.csv: every row has the label 'ham', so there is nothing to tell apart. "
        "Add rows of another class.",
    ),
    (
        "text,label\n" + "".join(f"text {n},class{n}\n" for n in range(9)),
        "bad.csv: no class has rows enough to hold one out for testing; label more, or give a test "
        "file with --test",
    ),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_a_file_that_cannot_be_learnt_from_is_refused_with_a_whole_message(
    tmp_path, start, content, message
):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        hs.finetune(path, start=start, out=tmp_path / "run", settings=SMALL)
    assert str(caught.value).replace('"', "'").replace(str(tmp_path) + "/", "") == message


def test_a_label_that_training_does_not_know_is_refused_with_line_and_fix(
    tmp_path, folder, start, probed
):
    path = write(tmp_path / "test.csv", [("hello", "ham"), ("win", "spamm"), ("x", "ham")])
    expected = (
        "E-DATA-017 test.csv:3 column 'label': 'spamm' is not a known label (ham, spam). Did you "
        "mean 'spam'? Fix the line, or add rows of this class to the training file."
    )
    for attempt in (
        lambda: hs.evaluate(folder / "probed", path),
        lambda: hs.finetune(
            folder / "train.csv", start=start, test=path, out=tmp_path / "r", settings=SMALL
        ),
    ):
        with pytest.raises(InputError) as caught:
            attempt()
        assert str(caught.value).replace('"', "'").replace(str(tmp_path) + "/", "") == expected


def test_a_model_that_learnt_no_task_is_refused(folder, start):
    with pytest.raises(InputError) as caught:
        hs.predict(start, "hello")
    assert str(caught.value).startswith(f"{start} has learnt no task: it holds a pretrained model")


def test_a_file_that_is_not_there_is_not_answered_for_as_a_text(folder, probed):
    for name in ("missing.csv", "missing file.csv"):
        with pytest.raises(InputError) as caught:
            hs.predict(folder / "probed", name)
        assert str(caught.value) == (
            f"{name} does not exist. Check the path; if it is a text to answer for, put it into a "
            "file"
        )
    (answer,) = hs.predict(folder / "probed", "I saved it all in a file.csv, and/or here: a/b.")
    assert answer.label in ("ham", "spam")


def test_a_folder_of_texts_is_read_file_by_file(folder, probed, messages, tmp_path):
    (tmp_path / "deeper").mkdir()
    texts = [text for text, _ in messages[300:303]]
    (tmp_path / "a.txt").write_text(texts[0] + "\n", encoding="utf-8")
    (tmp_path / "deeper" / "b.md").write_text(texts[1] + "\n", encoding="utf-8")
    write(tmp_path / "c.csv", [(texts[2], "")])
    notes = Notes()
    found = answering.predict(str(folder / "probed"), [f"{tmp_path}/", "ok"], events=notes)
    wanted = [texts[0], texts[2], texts[1], "ok"]
    assert [answer.text for answer in found.answers] == wanted
    assert [a.label for a in found.answers] == [a.label for a in probed[0].predict(wanted)]
    assert f"{tmp_path}/ is a folder: 3 texts of its files are answered for" in notes.notes
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no data file under \S+empty \(looked for \.txt, "):
        hs.predict(folder / "probed", str(tmp_path / "empty"))


def test_a_column_of_images_is_refused_where_texts_are_read(folder, probed):
    how = {"settings": {"images.column": "photo"}}
    for verb in (
        lambda: probed[0].evaluate(folder / "test.csv", **how),
        lambda: probed[0].predict("hello", **how),
        lambda: hs.check(folder / "test.csv", **how),
    ):
        with pytest.raises(InputError) as caught:
            verb()
        assert str(caught.value) == (
            "texts are read here, so there is no column of images 'photo': leave images.column out"
        )


def test_a_folder_is_no_labelled_file(folder, probed, start, tmp_path):
    (tmp_path / "a.txt").write_text("hello", encoding="utf-8")
    run, more = folder / "probed", tmp_path / "more"
    calls = (
        lambda path: hs.evaluate(run, path),
        lambda path: hs.compare(run, run, test=path),
        lambda path: hs.finetune(path, start=start, out=folder / "none", settings=SMALL),
    )

    def refused(call, path):
        with pytest.raises(InputError) as caught:
            call(path)
        return str(caught.value).replace(f"{tmp_path}", "here")

    for call in calls:
        assert refused(call, tmp_path) == (
            "here is a folder of texts without labels, but labelled texts stand in one table: give "
            "a csv, tsv, jsonl or parquet file with a column of texts and one of labels"
        )
    more.mkdir()
    for name in ("x.csv", "y.csv"):
        write(more / name, [("hello", "ham"), ("you won", "spam")])
        for call in calls:
            which = "one of its 2 tables, such as " if name == "y.csv" else ""
            assert refused(call, more) == (
                "here/more is a folder, but labelled texts are read from one file: give "
                f"{which}here/more/x.csv"
            )
    for call in calls:
        assert refused(call, more / "z.csv") == "here/more/z.csv does not exist. Check the path."


def test_the_files_of_a_model_are_compared_with_their_digests_once(folder, probed, monkeypatch):
    seen = []
    original = digests.sha256_of
    monkeypatch.setattr(digests, "sha256_of", lambda path: seen.append(path.name) or original(path))
    run = folder / "probed"
    for call, times in (
        (lambda: hs.predict(run, "hello"), 1),
        (lambda: hs.evaluate(run, folder / "test.csv"), 1),
        (lambda: hs.compare(run, run, test=folder / "test.csv"), 2),
    ):
        seen.clear()
        call()
        assert seen.count("model.safetensors") == times


def test_models_that_answer_different_questions_are_not_compared(folder, probed, start, tmp_path):
    rows = [(f"some text number {n}", "abc"[n % 3]) for n in range(30)]
    other = write(tmp_path / "abc.csv", rows)
    hs.finetune(other, start=start, method="probe", out=tmp_path / "abc", settings=SMALL)
    with pytest.raises(InputError) as caught:
        hs.compare(folder / "probed", tmp_path / "abc", test=folder / "test.csv")
    assert str(caught.value) == (
        f"{folder / 'probed'} and {tmp_path / 'abc'} answer different questions: "
        "classes (ham, spam) and classes (a, b, c)"
    )
    with pytest.raises(InputError) as caught:
        hs.compare(folder / "probed", tmp_path / "abc")
    assert str(caught.value) == (
        f"{folder / 'probed'} and {tmp_path / 'abc'} name no common test file: give one with "
        "--test test.csv"
    )

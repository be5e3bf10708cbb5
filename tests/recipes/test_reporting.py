"""What a report refuses before it spends time, and the commands that it gives."""

import math
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import headstart as hs
from example_report import example
from headstart import recipes
from headstart.budget import parse_budget
from headstart.cli.main import make_app
from headstart.config import ReportSettings
from headstart.data.text import train_tokenizer
from headstart.errors import InputError
from headstart.events import Silent
from headstart.families import find, save_model
from headstart.recipes.report_commands import following, repeat, repeat_cell
from headstart.report.render import leak_line, render_html, summary_sentences
from headstart.report.report import Leaks, budget_for
from headstart.report.sentences import MOST_SEEDS
from headstart.report.verdict import Need
from headstart.settings_file import make_settings


def written(folder, name, rows):
    place = folder / name
    place.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return place


SENTIMENT = [
    (f"row {n} of this file says something {n * n}", "no" if n % 2 else "yes") for n in range(20)
]
NUMBERS = [(text, n / 2) for n, (text, _) in enumerate(SENTIMENT)]


@pytest.mark.parametrize(
    ("train", "test", "labels", "message"),
    [
        (
            [(text, f"class{n}") for n, (text, _) in enumerate(SENTIMENT)],
            None,
            ["all"],
            "{train}: no class has rows enough to hold one out for testing; label more, or give a "
            "test file with --test",
        ),
        (
            SENTIMENT,
            SENTIMENT,
            ["all"],
            "{train}: every labelled row is also a test row, so none is left to learn from; give "
            "rows that are not in the test file",
        ),
        (
            NUMBERS,
            [("another text", 2.5), ("a further text", 2.5)],
            ["all"],
            "{test}: the number of every test row is 2.5, so there is nothing to put in order; add "
            "rows with other numbers",
        ),
        (
            [(text, 0.5) for text, _ in SENTIMENT],
            [("another text", 2.5), ("a further text", 1.5)],
            ["all"],
            "{train}: the number of every labelled row is 0.5, so there is nothing to put in "
            "order; add rows with other numbers",
        ),
        (
            SENTIMENT,
            [("another text", "yes")],
            ["50", "200"],
            "--labels 50, 200: more than the 20 labelled rows that there are for learning; give "
            "fewer, or all",
        ),
    ],
)
def test_rows_of_which_no_table_can_come_are_refused_before_pretraining(
    tmp_path, train, test, labels, message
):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("some text\nand some more\n")
    names = {"train": written(tmp_path, "train.csv", train), "test": tmp_path / "test.csv"}
    if test is not None:
        written(tmp_path, "test.csv", test)
    with pytest.raises(InputError) as caught:
        hs.report(
            names["train"],
            corpus=corpus,
            test=names["test"] if test is not None else None,
            labels=labels,
            out=tmp_path / "run",
        )
    assert str(caught.value) == message.format(**names)
    assert not (tmp_path / "run" / "pretrained").exists()


def test_a_public_model_that_is_not_there_is_missed_before_pretraining(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("some text\nand some more\n")
    labels = written(tmp_path, "train.csv", SENTIMENT)
    with pytest.raises(InputError) as caught:
        hs.report(
            labels, corpus=corpus, labels=["all"], out=tmp_path / "run", public=tmp_path / "gone"
        )
    assert str(caught.value) == (
        f"{tmp_path / 'gone'} is no folder. Give a run folder, a Hugging Face model folder, or "
        "hf:NAME for the Hub"
    )
    assert not (tmp_path / "run").exists()


class Notes(Silent):
    """Remembers what it is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(str(text))


def test_cells_that_are_made_anew_have_the_time_that_the_old_ones_used(tmp_path):
    tokenizer = train_tokenizer([text for text, _ in SENTIMENT], vocab_size=100)
    model = find("modern").build(
        num_layers=1, hidden_size=16, num_heads=2, vocab_size=100, max_positions=32
    )
    start = save_model(model, {}, tmp_path / "start", tokenizer=tokenizer)
    labels, run, notes = written(tmp_path, "train.csv", SENTIMENT), tmp_path / "run", Notes()

    def status(*arms, **settings):
        made = hs.report(
            labels,
            start=start,
            labels=["8"],
            seeds=1,
            budget="1m",
            out=run,
            settings={
                "arms": arms,
                "data.max_length": 16,
                "transfer.min_steps": 1,
                "machine.threads": 1,
                **settings,
            },
            events=notes,
        )
        assert made.report.facts.spent_seconds > 0
        return {cell.arm: cell.status for cell in made.report.cells}

    assert status("majority") == {"majority": "done"}
    assert notes.notes[-2] == (
        f"no corpus: TF-IDF and LSA know the labelled texts alone; give what {start} was "
        "pretrained on with --corpus, or they are at a disadvantage"
    )
    (run / "spent.json").write_text('{"seconds": 100}')
    assert status("majority", "own-lora") == {"majority": "done", "own-lora": "skipped"}
    found = status("majority", "own-lora", **{"transfer.epochs": 2})
    assert found == {"majority": "done", "own-lora": "done"}  # another table has its own time


class Heard(Exception):
    """Carries the settings with which a command calls its recipe."""


def settings_of(command, monkeypatch):
    """What a command line of ours asks of its recipe."""
    words = shlex.split(command)

    def hear(*args, settings, **_):
        raise Heard(settings)

    monkeypatch.setitem(vars(recipes), words[1], hear)
    with pytest.raises(Heard) as heard:
        make_app()(args=words[1:], standalone_mode=False)
    return heard.value.args[0]


UNUSUAL = {
    "data.paths": ["in/a{1} b.csv"],
    "data.text": "title+body",
    "data.max_length": 64,
    "corpus": ["docs/one", "two.txt"],
    "test": "in/test.csv",
    "public": ["hf:owner/name", "hf:other/name"],
    "labels": ["20", "all"],
    "seed": 3,
    "seeds": 4,
    "budget": "70m",
    "transfer.epochs": 4,
    "transfer.balanced": True,
    "objective.name": "mlm",
    "machine.threads": 2,
}


def report_settings(**changed):
    given = {name: value for name, value in {**UNUSUAL, **changed}.items() if value is not None}
    return make_settings(ReportSettings, given=given)


def test_the_command_of_the_page_gives_the_same_settings_again(monkeypatch):
    settings = report_settings()
    command = repeat([Path(UNUSUAL["data.paths"][0])], settings)
    assert "docs" not in command
    named = {"corpus": ("one", "two.txt"), "test": "test.csv"}
    data = settings.data.model_copy(update={"paths": ("a{1} b.csv",)})
    assert settings_of(command, monkeypatch) == settings.model_copy(update={**named, "data": data})
    assert "--public hf:owner/name --public hf:other/name" in command


@pytest.mark.parametrize("start", [None, "hf:owner/model"])
def test_the_command_of_a_cell_keeps_the_corpus_and_leaves_the_table_alone(start, monkeypatch):
    settings = report_settings(start=start)
    command = repeat_cell([Path(UNUSUAL["data.paths"][0])], settings, run="report-a/pretrained")
    found = settings_of(command.format(arm="own-probe+lsa", labels=20, seed=7), monkeypatch)
    assert found.corpus == ("one", "two.txt")  # the bag-of-words controls learn from it
    assert found.start == (start or "report-a/pretrained")
    assert (found.arms, found.labels) == (("own-probe+lsa",), ("20",))
    assert (found.seed, found.seeds) == (7, 1)
    assert found.out == "runs/cell"  # not the report's own folder, where the cell is done
    assert found.transfer == settings.transfer


def judged(kind, **values):
    made = example()
    need = values.pop("need", None)
    return replace(made, verdict=replace(made.verdict, kind=kind, need=need, **values))


def test_the_winner_is_trained_from_what_was_judged_into_the_reports_folder(monkeypatch):
    for start in (None, "hf:owner/model", "models/bert"):
        settings = report_settings(start=start)
        (command,) = following(
            judged("pays"), [Path("in/a.csv")], settings, folder=Path("runs/r"), run="runs/r/run"
        )
        found = settings_of(command, monkeypatch)
        assert found.start == (start or "runs/r/run")
        assert (found.out, found.test, found.corpus) == ("runs/r/task", "in/test.csv", ())
        assert (found.data.text, found.data.max_length) == ("title+body", 64)
        assert (found.transfer.epochs, found.transfer.balanced) == (4, True)


def test_more_seeds_are_run_in_the_same_folder_with_the_time_that_they_take(monkeypatch):
    need = Need("seeds", 6, 0.01)
    settings = report_settings(out="runs/mine")
    made = judged("cannot tell", need=need)
    (command,) = following(made, [Path("in/a.csv")], settings, folder=Path("r"), run="r/run")
    found = settings_of(command, monkeypatch)
    assert (found.seeds, found.out, found.start) == (10, "runs/mine", None)
    assert (found.corpus, found.test) == (settings.corpus, settings.test)
    # 3,120 s were used, a seed of all arms takes 14 s at each of 4 label counts
    cells = {(cell.arm, cell.labels): cell.seconds for cell in made.cells}
    assert budget_for(made, 10) == f"{math.ceil(1.2 * (3120 + 5 * sum(cells.values())) / 60)}m"
    assert str(found.budget) == str(parse_budget(budget_for(made, 10)))
    said = summary_sentences(judged("cannot tell", need=Need("seeds", 5, 0.01)), lang="en")["next"]
    assert said.startswith(
        f"Run it again with --seeds 10 --budget {budget_for(made, 10)}; finished cells are kept, "
        "and the time used so far counts."
    )


def test_more_seeds_than_the_flag_takes_are_not_asked_for():
    settings = report_settings()
    for more, asked in ((95, True), (96, False), (2000, False)):
        made = judged("cannot tell", need=Need("seeds", more, 0.01))
        said = summary_sentences(made, lang="en")["next"]
        assert ("--seeds" in said) == asked
        assert said.endswith("does without pretraining.")
    assert following(made, [Path("a.csv")], settings, folder=Path("r"), run="r/run") == ()
    make_settings(ReportSettings, given={"seeds": MOST_SEEDS})
    with pytest.raises(InputError):
        make_settings(ReportSettings, given={"seeds": MOST_SEEDS + 1})


def test_enough_time_is_not_asked_for_again():
    made = judged("cannot tell", need=Need("seeds", 5, 0.01))
    rich = replace(made, facts=replace(made.facts, budget_seconds=1e6))
    said = summary_sentences(rich, lang="en")["next"]
    assert said.startswith("Run it again with --seeds 10; finished cells are kept.")
    assert budget_for(rich, 10) == ""


def test_a_network_that_was_given_is_not_said_to_have_been_kept_from_test_rows():
    made, given = example(), {"given": True}
    some = replace(made, facts=replace(made.facts, leaks=Leaks(exact=2, near=1, **given)))
    assert leak_line(some, "en") == (
        "3 corpus documents overlap with test rows (2 exact, 1 near duplicates); the network was "
        "pretrained before this report and may have learnt them."
    )
    leaks = Leaks(train_test=4, checked=False, **given)
    none = replace(made, facts=replace(made.facts, leaks=leaks))
    assert leak_line(none, "en") == (
        "No corpus was given, so whether the network was pretrained on test rows was not checked. "
        "4 training rows are also test rows and were left out of training."
    )
    advice = "TF-IDF and LSA know the labelled texts alone"
    assert advice in render_html(none)
    assert advice not in render_html(some)
    assert leak_line(none, "zh") == (
        "没有给出语料，因此未检查网络预训练时是否见过测试数据。"
        "有 4 条训练数据同时是测试数据，已不用于训练。"
    )

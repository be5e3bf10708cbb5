"""The Python verbs: keywords become settings, recipes are called once, results come back typed."""

from pathlib import Path
from typing import get_args

import pytest

import headstart
from headstart import recipes
from headstart.config import Family
from headstart.errors import InputError
from headstart.recipes import answering
from headstart.recipes.given import inputs_of
from headstart.recipes.results import (
    FinetuneResult,
    Measured,
    Prediction,
    Predictions,
    PretrainResult,
)

MEASURED = Measured("accuracy", 0.9, 0.88, 0.92, 480)


@pytest.fixture
def stand_in(monkeypatch):
    """Puts a recipe in place that records its calls and answers with a given result."""

    def put(name, result):
        calls = []

        def recipe(*arguments, **keywords):
            calls.append((arguments, keywords))
            return result

        monkeypatch.setitem(vars(recipes), name, recipe)
        return calls

    return put


def test_pretrain_then_finetune_hands_the_run_on(stand_in):
    calls = stand_in("pretrain", PretrainResult(Path("runs/a"), 1, 2, 3.0, 4.0, 5.0))
    run = headstart.pretrain("docs", budget="4h", family="gpt", settings={"optimizer.lr": 1e-4})
    (paths,), keywords = calls[0]
    assert paths == [Path("docs")]
    assert keywords["settings"].optimizer.lr == 1e-4
    assert str(keywords["settings"].budget) == "4h"
    assert keywords["settings"].model.family == "gpt"

    calls = stand_in("finetune", FinetuneResult(Path("runs/b"), "full", MEASURED, 3, 9.0))
    model = headstart.finetune(Path("train.csv"), start=run, method="lora", seeds=3)
    assert calls[0][1]["start"] == "runs/a"
    assert calls[0][1]["settings"].transfer.method == "lora"

    assert model.folder == "runs/b"


def test_a_fitted_model_is_opened_once_whatever_is_asked_of_it(stand_in, monkeypatch):
    opened = []
    monkeypatch.setattr(answering, "opened", lambda name: opened.append(name) or "the model")
    model = headstart.load("runs/b")
    assert opened == []
    calls = stand_in("evaluate", MEASURED)
    assert model.evaluate("test.csv", text="body") is MEASURED
    assert calls[0][0] == ("the model", [Path("test.csv")])
    assert calls[0][1]["text"] == "body"
    calls = stand_in("predict", Predictions([Prediction("x", "yes")]))
    assert model.predict("x") == [Prediction("x", "yes")]
    assert model.predict(["x", "y"], text="body") == [Prediction("x", "yes")]
    assert [given for (_, given), _ in calls] == [["x"], ["x", "y"]]
    assert opened == ["runs/b"]
    assert headstart.predict("runs/b", "x") == [Prediction("x", "yes")]
    assert opened == ["runs/b", "runs/b"]  # a folder named anew is opened anew


def test_no_model_is_refused(tmp_path):
    with pytest.raises(InputError) as refused:
        headstart.load("").predict("x")
    assert str(refused.value) == (
        "no model given: name a run folder, a Hugging Face folder, or hf:NAME"
    )


def test_report_takes_counts_as_numbers_and_several_corpora(stand_in):
    calls = stand_in("report", MEASURED)
    headstart.report("l.csv", corpus=["a", Path("b")], labels=[50, "all"], budget="1h")
    settings = calls[0][1]["settings"]
    assert (settings.corpus, settings.labels) == (("a", "b"), ("50", "all"))


def test_a_wrong_keyword_value_is_the_same_message_as_on_the_command_line():
    with pytest.raises(InputError) as refused:
        headstart.pretrain("docs", family="brt")
    assert str(refused.value) == (
        f'model.family = "brt": must be one of {", ".join(get_args(Family))}. Did you mean bert?'
    )


def test_no_data_is_refused():
    with pytest.raises(InputError) as refused:
        headstart.pretrain()
    assert str(refused.value) == "no text given: the first argument names files or folders"
    for corpus in ({}, {"corpus": None}, {"corpus": ()}):
        with pytest.raises(InputError) as refused:
            headstart.report("l.csv", **corpus)
        assert str(refused.value) == (
            "nothing to pretrain on: give corpus= (files, folders) or start= (a run)"
        )
    for verb, what in (
        (headstart.pretrain, "text"),
        (headstart.finetune, "labelled file"),
        (headstart.report, "labelled file"),
        (headstart.plan, "text"),
        (headstart.check, "data"),
    ):
        with pytest.raises(InputError) as refused:
            verb(None)
        assert str(refused.value) == f"no {what} given: the first argument names files or folders"


@pytest.mark.parametrize(
    ("wrong", "kind"), [(7, "int"), ([["a.csv"]], "list"), ({"text": "a"}, "dict")]
)
def test_what_is_no_path_is_refused(wrong, kind):
    for call in (
        lambda: headstart.check(wrong),
        lambda: headstart.report("l.csv", corpus=wrong),
        lambda: headstart.load("runs/b").evaluate(wrong),
    ):
        with pytest.raises(InputError) as refused:
            call()
        assert str(refused.value) == (
            f"{kind} is no path: give a file or folder, or a list of them"
        )


def test_texts_and_files_to_answer_for_are_taken_in_any_container(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    path = tmp_path / "a.txt"
    assert inputs_of("a b") == ["a b"]
    assert inputs_of(path) == [str(path)]
    assert inputs_of(("a", path)) == ["a", str(path)]
    with pytest.raises(InputError) as refused:
        inputs_of([tmp_path / "none.txt"])
    assert str(refused.value) == f"{tmp_path / 'none.txt'} does not exist. Check the path."
    for wrong in (None, {"a": "b"}):
        with pytest.raises(InputError, match="is no list of texts: give a text, a list of them"):
            inputs_of(wrong)


def test_a_model_is_loaded_by_its_folder():
    assert headstart.load("runs/b").folder == "runs/b"

"""How one command shows its result, and ends where data or machine are not usable."""

import json
from dataclasses import dataclass

import pytest

from headstart import recipes
from headstart.cli.main import main
from headstart.cli.session import Session
from headstart.recipes.machine import Diagnosis, Finding
from headstart.recipes.results import Measured, Prediction, Predictions, to_json
from headstart.words import say


@pytest.fixture(autouse=True)
def _english(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@dataclass(frozen=True)
class Drawn:
    """A result with a screen of its own."""

    rejected: int = 0

    def screen(self, lang):
        return f"drawn in {lang}"

    def facts(self):
        return [("report_page", "runs/x/report.html")]

    def record(self):
        return {"drawn": True}

    def next_commands(self):
        return []


def leave(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


def test_a_result_that_draws_itself_is_drawn_above_its_facts(capsys):
    Session(lang="zh", as_json=False).finish(Drawn())
    assert capsys.readouterr().out == "drawn in zh\n报告  runs/x/report.html\n"


def test_a_drawn_result_is_plain_json_when_asked(capsys):
    Session(lang="en", as_json=True).finish(Drawn())
    assert json.loads(capsys.readouterr().out) == {"drawn": True}


def test_labels_of_wide_characters_stay_aligned(capsys):
    Session(lang="zh", as_json=False).finish(Measured("F1", 0.5, 0.4, 0.6, 10))
    lines = capsys.readouterr().out.splitlines()
    # "F1" is 2 columns wide, "95% 区间" 8, "行数" 4: values begin in column 10.
    assert lines == ["F1        0.5000", "95% 区间  0.4000 - 0.6000", "行数      10"]


def test_phrases_in_facts_follow_the_language(capsys, monkeypatch):
    monkeypatch.setattr(Drawn, "facts", lambda self: [("", say("plan_budget", budget="3m"))])
    Session(lang="zh", as_json=False).finish(Drawn())
    assert capsys.readouterr().out.splitlines()[1] == "  预算 3m"


def test_data_with_rejected_rows_ends_with_exit_code_2(monkeypatch, capsys):
    monkeypatch.setitem(vars(recipes), "check", lambda data, **keywords: Drawn(rejected=1))
    assert leave("check", "labels.csv") == 2
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(vars(recipes), "check", lambda data, **keywords: Drawn())
    assert leave("check", "labels.csv") == 0


def test_names_and_labels_are_escaped_on_the_screen_and_exact_in_json(capsys):
    found = Predictions([Prediction("a\x1b[31m\udcff.png", "la\x1bbel", 0.5)])
    Session(lang="en", as_json=False).finish(found)
    assert capsys.readouterr().out == "la\\x1bbel 0.50  a\\x1b[31m\\udcff.png\n"
    Session(lang="en", as_json=True).finish(found)
    out = capsys.readouterr().out
    assert out.encode("utf-8")  # strict: half of a surrogate pair would not go
    assert json.loads(out)["answers"][0]["text"] == "a\x1b[31m\udcff.png"


def test_a_check_says_how_files_are_read_and_ends_with_2_where_one_cannot_be(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("text,label\n" + "some words,x\nother words,y\n" * 3)
    with pytest.raises(SystemExit) as left:
        main(["check", str(tmp_path / "a.csv")])
    assert left.value.code == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "  a.csv: comma-separated, header, columns text, label; text 'text', label 'label'",
        "  6 rows: 6 accepted, 0 set aside, 0 rejected",
        "  4 of the accepted repeat an earlier one",
    ]
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04" + bytes(40))
    assert leave("check", str(tmp_path / "b.zip"), "--lang", "zh") == 2
    assert capsys.readouterr().out == (
        "  共 0 行：接受 0，搁置 0，拒绝 0\n"
        f"  E-DATA-002 {tmp_path}/b.zip: 该文件是 zip 压缩包（.xlsx 表格和 .docx 文档也是），"
        "不是文本。请导出为文本、CSV、JSON lines 或 Parquet。\n"
    )


def test_an_empty_name_is_never_the_current_folder(capsys):
    assert leave("pretrain", "") == 2
    assert capsys.readouterr().err == (
        "no text given. For example: headstart pretrain docs/ --budget 30m\n"
    )


def test_a_machine_that_cannot_work_ends_with_exit_code_3(monkeypatch, capsys):
    bad = Diagnosis([Finding("torch", "2.0", "failure", "too old")])
    monkeypatch.setitem(vars(recipes), "doctor", lambda *, measure: bad)
    assert leave("doctor") == 3
    out, err = capsys.readouterr()
    assert (out, err) == ("torch  2.0  (X) too old\n", "")


def test_numbers_of_any_kind_become_json():
    import numpy as np

    value = {"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan"), "d": (True, None)}
    assert to_json(value) == {"a": 0.5, "b": [1, 2], "c": None, "d": [True, None]}

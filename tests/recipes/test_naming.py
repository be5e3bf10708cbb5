"""Which inputs are paths and which are texts, and what models are called for short."""

import pytest

from headstart.errors import InputError
from headstart.recipes.naming import names_path, short_names


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    (tmp_path / "my texts" / "inside").mkdir(parents=True)
    (tmp_path / "my texts" / "first one.csv").write_text("text\nhello\n", encoding="utf-8")
    (tmp_path / "notes.log").write_text("hello\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "there",
    ["my texts", "my texts/", "my texts/inside", "my texts/first one.csv", "notes.log", "./"],
)
def test_what_is_there_is_a_path(there, place):
    assert names_path(there)
    assert names_path(str(place / there))


@pytest.mark.parametrize(
    "text",
    [
        "is my card on its way?",
        "I saved all of it as report.csv",
        "see https://example.org/data.csv",
        "https://example.org/a/",
        "and/or",
        "24/7",
        "N/A",
        "/help",
        "/s obviously not",
        "he/she said so",
        "我的卡/密码丢了",
        "my texts/inside are the ones that I meant",
        "my texts.",
        "a\nmissing.csv",
        "missing.csv\0",
        "missing " * 600 + "file.csv",
        "x" * 300 + "/y",
        "/",
        "...",
        ".",
        "",
        " ",
        "\ud800/x",
    ],
)
def test_a_text_is_a_text(text):
    assert not names_path(text)


@pytest.mark.parametrize(
    ("missing", "meant"),
    [
        ("missing file.csv", ""),
        ("missing.csv.gz", ""),
        ("my texts/none of these is the one that I meant.csv", ""),
        ("my texts/first oen.csv", "my texts/first one.csv"),
        ("no such folder/a.txt", ""),
        ("photo of me.jpg", ""),
        ("my texts/outside", ""),
        ("./texts", ""),
        ("../no such file.md", ""),
        ("missing/", ""),
        ("/no/such/folder", ""),
        ("https://example.org/data.csv", ""),
    ],
)
def test_what_looks_like_a_path_and_leads_nowhere_is_refused(missing, meant):
    with pytest.raises(InputError) as refused:
        names_path(missing)
    hint = f" Did you mean '{meant}'?" if meant else ""
    assert str(refused.value) == (
        f"{missing} does not exist.{hint} Check the path; if it is a text to answer for, put it "
        "into a file"
    )


def test_a_long_name_with_a_slip_is_recognised(place):
    (place / "copy of my own labels of 2024.csv").touch()
    with pytest.raises(InputError, match=r"Did you mean 'copy of my own labels of 2024\.csv'\?"):
        names_path("copy of my own lables of 2024.csv")
    assert not names_path("a list of what I own is in table.csv")


def test_models_are_called_by_their_last_part_unless_two_are_alike():
    models = ["hf:owner/bert", "runs/docs/model", "models/bert", "a/model/", "hf:gpt", "a/model/"]
    assert short_names(models) == {
        "hf:owner/bert": "hf:owner/bert",
        "docs": "runs/docs/model",
        "models/bert": "models/bert",
        "a": "a/model/",
        "gpt": "hf:gpt",
    }
    assert short_names([]) == {}

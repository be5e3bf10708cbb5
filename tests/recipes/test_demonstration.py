"""The packaged demo data: complete, small, attributed, and without leaks of exact texts."""

import csv
from collections import Counter

from headstart.recipes.demonstration import demo_data, demo_settings


def rows(name: str) -> list[dict[str, str]]:
    with (demo_data() / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_demo_data_is_what_its_source_note_says():
    labels, test, corpus = rows("labels.csv"), rows("test.csv"), rows("corpus/questions.csv")
    assert (len(labels), len(test), len(corpus)) == (600, 480, 9403)
    assert set(Counter(row["label"] for row in labels).values()) == {50}
    assert set(Counter(row["label"] for row in test).values()) == {40}
    assert {row["label"] for row in labels} == {row["label"] for row in test}
    note = (demo_data() / "SOURCE.md").read_text(encoding="utf-8")
    for label in {row["label"] for row in labels}:
        assert label in note
    for said in ("PolyAI", "CC BY 4.0", "What was changed", "600 rows", "480 rows", "9,403"):
        assert said in note


def test_no_labelled_text_is_in_the_corpus():
    labelled = {row["text"] for row in rows("labels.csv")}
    assert not labelled & {row["text"] for row in rows("corpus/questions.csv")}


def test_the_demo_data_is_small():
    size = sum(path.stat().st_size for path in demo_data().rglob("*") if path.is_file())
    assert size < 1_000_000


def test_the_demo_is_an_ordinary_report_that_fits_in_minutes():
    settings = demo_settings(out="runs/x", threads=2)
    assert settings.budget.in_unit("seconds") <= 300
    assert settings.counts(600) == [60, 200, 600]
    assert (settings.out, settings.machine.threads) == ("runs/x", 2)
    assert demo_settings(budget="1m").budget.amount == 60

"""What a report refuses before it spends time, and the commands that it gives."""


import pytest

import headstart as hs
from headstart.errors import InputError


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

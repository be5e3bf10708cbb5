import pytest

from headstart.data.check import check_data
from real_data import data_dir


def csv_file(tmp_path, rows, name="a.csv", header="text,label"):
    path = tmp_path / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_every_problem_is_reported_in_one_pass_and_every_row_counted(tmp_path):
    rows = ["good,x", "short", "a,b,c", ",x", "words,", '"open,x', "fine,y", "good,y", "fine,y"]
    report = check_data(csv_file(tmp_path, rows))
    assert [one.code for one in report.problems if one.outcome != "warn"] == [
        "E-DATA-009",
        "E-DATA-009",
        "Q-DATA-022",
        "Q-DATA-023",
        "E-DATA-007",
    ]
    assert (report.rows, report.accepted, report.quarantined, report.rejected) == (9, 4, 2, 3)
    assert str(report) == ("9 rows: 4 accepted, 2 quarantined, 3 rejected; 2 classes, 2 duplicates")
    assert not report.usable


def test_one_text_with_two_labels_is_named(tmp_path):
    report = check_data(csv_file(tmp_path, ["same words,x", "other,y", "same words,y", "more,x"]))
    assert [str(one).split("a.csv")[1] for one in report.problems] == [
        ':4 column "label": the same text has the label "x" in an earlier row and "y" here. '
        "Keep one of the two."
    ]
    assert report.usable


def test_a_clean_file_has_no_problems(tmp_path):
    report = check_data(csv_file(tmp_path, [f"words number {n},{'xy'[n % 2]}" for n in range(50)]))
    assert report.problems == ()
    assert report.classes == {"x": 25, "y": 25}
    assert report.notes == (
        "a.csv: comma-separated, header, columns text, label; text 'text', label 'label'",
    )


def test_a_column_that_is_not_there_is_reported_once(tmp_path):
    path = csv_file(tmp_path, ["a,x", "b,y", "c"], header="text,my label")
    report = check_data(path, label="my lable")
    assert [str(one).split("a.csv")[1] for one in report.problems] == [
        " column \"my lable\": no field 'my lable' (found: text, my label). "
        "Did you mean 'my label'? Write --label 'my label'.",
        ':4: this row has 1 cell, but the file has 2 columns (text, my label): "c". '
        "Fill in the missing cells, or remove the row.",
    ]
    assert report.rejected == report.rows == 3
    far = check_data(path, text="x", label="y")
    assert [f"{one.message} {one.fix}" for one in far.problems if one.line == 0] == [
        "no field 'x' (found: text, my label). Name it with --text COLUMN.",
        "no field 'y' (found: text, my label). Name it with --label COLUMN.",
    ]
    assert len(far.problems) == 3


def test_leaks_of_the_test_file_are_reported(tmp_path):
    train = csv_file(tmp_path, ["the very first text,x", "a second one,y"], name="train.csv")
    test = csv_file(tmp_path, ["The very first text!,x", "unseen words,y"], name="test.csv")
    report = check_data(tmp_path, test=test)
    assert report.leaks is not None
    assert report.leaks.corpus == {"normalised": 1}
    assert [one.code for one in check_data(train, test=test).problems] == [
        *("W-DATA-024", "W-DATA-024") * 2,
        "W-DATA-037",
    ]


def test_progress_is_told(tmp_path):
    told = []
    path = csv_file(tmp_path, [f"t{n},{n % 2}" for n in range(2500)])
    check_data(path, progress=told.append)
    assert told == [1000, 2000]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("banking77", "test.csv"),
        ("imdb", "test.parquet"),
        ("fewclue_eprstmt", "unlabeled.json.gz"),
        ("ag_news", "train_5k.csv.gz"),
        ("chnsenticorp", "dev.tsv.gz"),
    ],
)
def test_clean_public_data_raises_no_false_alarms(name, file):
    report = check_data(data_dir(name) / file)
    assert report.usable
    assert report.rows == report.accepted
    assert len([one for one in report.problems if one.code != "W-DATA-034"]) <= 1

"""Fifteen kinds of nasty CSV, JSON lines and Parquet (each made here), with the outcome of each."""

import json
from decimal import Decimal

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from headstart.data.check import check_data
from headstart.data.corpus import Corpus
from headstart.data.dataset import load_labelled
from headstart.data.delimited import SAMPLE_LINES
from headstart.data.files import Row, look_at, read_rows
from headstart.data.image_kind import holds_images
from headstart.data.record import spreadsheet_safe
from headstart.errors import InputError


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def rows_of(path, **options):
    """Fields of the sound rows, and the problems as (line, message)."""
    rows, problems = [], []
    for item in read_rows(path, **options):
        if isinstance(item, Row):
            rows.append(list(item.fields.values()))
        else:
            problems.append(str(item).replace(f"{path.parent}/", ""))
    report = check_data(path)
    assert report.rows == report.accepted + report.quarantined + report.rejected
    return rows, problems


def test_01_labels_that_spell_missing_values_stay_text(tmp_path):
    names = ["NA", "None", "null", "nan", "N/A"]
    table = "text,label\n" + "".join(
        f"words number {n},{name}\n" for n, name in enumerate(names * 3)
    )
    loaded = load_labelled(write(tmp_path, "a.csv", table))
    assert loaded.classes == sorted(names)
    assert len(loaded) == 15
    lines = "".join(
        json.dumps({"text": f"t{n}", "label": name}) + "\n" for n, name in enumerate(names * 2)
    )
    assert load_labelled(write(tmp_path, "a.jsonl", lines)).classes == sorted(names)


def test_02_a_short_row_is_rejected_with_its_line(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\ngood,x\nshort\nfine,y\n")
    rows, problems = rows_of(path)
    assert rows == [["good", "x"], ["fine", "y"]]
    assert problems == [
        "E-DATA-009 a.csv:3: this row has 1 cell, but the file has 2 columns (text, label): "
        '"short". Fill in the missing cells, or remove the row.'
    ]
    with pytest.raises(InputError, match=r"a\.csv:3: this row has 1 cell, but"):
        load_labelled(path)
    skipped = load_labelled(path, bad_rows="skip")
    assert (skipped.rows, len(skipped), skipped.quarantined) == (3, 2, 1)


def test_03_an_extra_comma_on_every_row_never_shifts_the_columns(tmp_path):
    body = "".join(f"review {n}, with a comma,pos\n" for n in range(30))
    rows, problems = rows_of(write(tmp_path, "a.csv", "text,label\n" + body))
    assert rows == []
    assert len(problems) == 30
    assert problems[0] == (
        "E-DATA-009 a.csv:2: this row has 3 cells, but the file has 2 columns (text, label): "
        "\"review 0, with a comma,pos\". Put double quotes around cells that hold ','."
    )


def test_04_an_unclosed_quote_costs_its_own_line_and_names_it(tmp_path):
    table = 'text,label\nfine,x\n"never closed,y\n"closed",x\nlast,y\n'
    rows, problems = rows_of(write(tmp_path, "a.csv", table))
    assert rows == [["fine", "x"], ["closed", "x"], ["last", "y"]]
    assert problems == [
        'E-DATA-007 a.csv:3: a quote opens here and never closes: ""never closed,y". '
        'Close it, or write a quote inside a quoted cell twice ("").'
    ]


def test_04_text_after_a_closing_quote_is_rejected(tmp_path):
    rows, problems = rows_of(write(tmp_path, "a.csv", 'text,label\n"so" she said,x\nfine,y\n'))
    assert rows == [["fine", "y"]]
    assert problems[0].startswith(
        'E-DATA-008 a.csv:2: text follows a closing quote: ""so" she said,x".'
    )


def test_05_quoted_line_ends_delimiters_quotes_and_huge_cells_are_exact(tmp_path):
    big = "x," * 100_000
    table = f'text,label\n"two\nlines, and ""quotes""",x\n"{big}",y\n"",z\nlast,x\n'
    path = write(tmp_path, "a.csv", table)
    rows, problems = rows_of(path)
    assert problems == []
    assert rows == [['two\nlines, and "quotes"', "x"], [big, "y"], ["", "z"], ["last", "x"]]
    lines = [row.line for row in read_rows(path)]
    assert lines == [2, 4, 5, 6]  # physical lines, though the first row takes two


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_06_the_delimiter_is_found_and_echoed(mark, tmp_path):
    table = f"text{mark}label\n" + "".join(f"words, more; {n}{mark}x\n" for n in range(20))
    if mark in ",;":
        table = table.replace("words, more; ", "words more ")
    path = write(tmp_path, "a.csv", table)
    assert len(rows_of(path)[0]) == 20
    word = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}[mark]
    assert look_at(path).note == f"{word}-separated, header, columns text, label"


@pytest.mark.parametrize("value", ["3,5", "1,234", "12%"])
def test_06_numbers_in_local_spelling_are_rejected_by_cell(value, tmp_path):
    table = "text;score\n" + "".join(f"words {n};{n}.5\n" for n in range(30)) + f"bad;{value}\n"
    with pytest.raises(InputError) as caught:
        load_labelled(write(tmp_path, "a.csv", table))
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        f'E-DATA-031 a.csv:32 column "score": "{value}" is not a plain number. '
        "Write numbers like 1234.5, without %, spaces or thousands marks."
    )


def test_07_a_mark_before_the_header_and_spaces_in_it_are_left_out(tmp_path):
    path = write(tmp_path, "a.csv", "\ufefftext , label\ngood,x\nbad,y\n")
    assert [row.fields for row in read_rows(path)] == [
        {"text": "good", "label": "x"},
        {"text": "bad", "label": "y"},
    ]


def test_08_duplicate_column_names_are_rejected(tmp_path):
    _, problems = rows_of(write(tmp_path, "a.csv", "text,label,label\na,b,c\n"))
    assert problems == [
        'E-DATA-010 a.csv:1 column "label": the header has the column "label" 2 times. '
        "Give every column its own name."
    ]


def test_08_a_missing_header_gives_positional_names_and_says_so(tmp_path):
    body = "".join(f"{n % 3},some title {n},and a longer description {n}\n" for n in range(9))
    path = write(tmp_path, "a.csv", body)
    assert len(rows_of(path)[0]) == 9
    assert look_at(path).note == "comma-separated, no header, columns column_1, column_2, column_3"
    loaded = load_labelled(path, text="column_2+column_3")
    assert loaded.texts[0] == "some title 0 and a longer description 0"
    assert loaded.label_column == "column_1"


def test_08_a_header_repeated_inside_is_rejected(tmp_path):
    rows, problems = rows_of(write(tmp_path, "a.csv", "text,label\na,x\ntext,label\nb,y\n"))
    assert rows == [["a", "x"], ["b", "y"]]
    assert problems == [
        "E-DATA-011 a.csv:3: the header is repeated here, in the middle of the rows. "
        "Remove this line (files were joined with their headers)."
    ]


def test_09_long_ids_and_leading_zeros_are_exact(tmp_path):
    ids = ["9007199254740993", "", "007", "1e5", "0.10"]
    table = "id,text,label\n" + "".join(f"{i},t{i},{'xy'[n % 2]}\n" for n, i in enumerate(ids))
    assert [row[0] for row in rows_of(write(tmp_path, "a.csv", table))[0]] == ids
    lines = '{"id": 9007199254740993, "v": 0.10, "w": 1E400}\n'
    assert rows_of(write(tmp_path, "a.jsonl", lines))[0] == [["9007199254740993", "0.10", "1E400"]]


def test_10_damage_done_by_spreadsheets_is_warned_of(tmp_path):
    genes = ["BRCA1", "2-Sep", "TP53", "1-Mar"] * 3
    answers = ["TRUE", "Yes", "1", "no"] * 3
    table = "gene,text,label\n" + "".join(
        f"{gene},words {n},{answers[n]}\n" for n, gene in enumerate(genes)
    )
    report = check_data(write(tmp_path, "a.csv", table))
    found = {(one.column, one.outcome, one.code) for one in report.problems}
    assert ("gene", "warn", "W-DATA-029") in found
    assert ("label", "warn", "W-DATA-029") in found
    assert report.accepted == 12


def test_11_labels_that_look_like_slips_are_warned_of_with_the_likely_one(tmp_path):
    names = ["positive"] * 40 + ["negative"] * 40 + ["positve", "Negative", "pоsitive", "rare"]
    table = "text,label\n" + "".join(f"words {n},{name}\n" for n, name in enumerate(names))
    loaded = load_labelled(write(tmp_path, "a.csv", table))
    messages = [f"{one.code} {one.message} {one.fix}" for one in loaded.problems]
    assert messages == [
        'W-DATA-032 "Negative" (1 row) is much like "negative" (40). '
        'If it is a slip, write "negative".',
        'W-DATA-032 "positve" (1 row) is much like "positive" (40). '
        'If it is a slip, write "positive".',
        'W-DATA-032 "pоsitive" (1 row) is much like "positive" (40). '
        'If it is a slip, write "positive".',
        'W-DATA-024 the class "rare" has a single row, too few to learn or to test. '
        "Add rows of this class, or remove it.",
    ]


def test_11_spaces_around_labels_do_not_make_classes(tmp_path):
    loaded = load_labelled(
        write(tmp_path, "a.csv", "text,label\na,Positive \nb,Positive\nc, neg\n")
    )
    assert loaded.classes == ["Positive", "neg"]


def test_11_a_label_unknown_to_the_training_file_is_rejected_with_the_nearest(tmp_path):
    path = write(tmp_path, "t.csv", "text,label\na,positive\nb,positve\n")
    with pytest.raises(InputError) as caught:
        load_labelled(path, kind="classes", classes=["negative", "positive"])
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        'E-DATA-017 t.csv:3 column "label": "positve" is not a known label (negative, positive). '
        'Did you mean "positive"? Fix the line, or add rows of this class to the training file.'
    )


def test_11_a_class_only_in_the_test_file_is_warned_of(tmp_path):
    train = write(tmp_path, "train.csv", "text,label\none,x\ntwo,y\nthree,x\nfour,y\n")
    test = write(tmp_path, "test.csv", "text,label\nfive,x\nsix,z\nseven,z\n")
    report = check_data(train, test=test)
    assert 'the class "z" is only in the test file.' in [one.message for one in report.problems]


@pytest.mark.parametrize(
    ("line", "start", "end"),
    [
        (
            '{"text": "a", "label": "x",}',
            "E-DATA-012 a.jsonl:2: this is not JSON (",
            "Remove the comma before the closing bracket.",
        ),
        (
            "{'text': 'a', 'label': 'x'}",
            "E-DATA-012 a.jsonl:2: this is not JSON (",
            "Put names and texts in double quotes, not single ones.",
        ),
        (
            '{"text": "a", "score": NaN}',
            "E-DATA-014 a.jsonl:2: NaN is not JSON.",
            "Write null, or remove the field.",
        ),
        (
            '{"text": "a", "score": -Infinity}',
            "E-DATA-014 a.jsonl:2: -Infinity is not JSON.",
            "Write null, or remove the field.",
        ),
        (
            '{"text": "a", "text": "b"}',
            'E-DATA-013 a.jsonl:2: the key "text" stands in this object twice.',
            "Remove one of the two.",
        ),
        (
            '["a", "x"]',
            "E-DATA-016 a.jsonl:2: the record is a list, but must be an object with named fields.",
            'Write records like {"text": "...", "label": "..."}.',
        ),
        (
            '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}",
            "E-DATA-015 a.jsonl:2: the record is nested 100001 levels deep, but 64 are allowed.",
            "Flatten it, or remove the line.",
        ),
    ],
    ids=["trailing comma", "single quotes", "NaN", "Infinity", "duplicate key", "list", "deep"],
)
def test_12_and_13_broken_json_lines_are_rejected_by_line(line, start, end, tmp_path):
    good = '{"text": "fine", "label": "x"}\n'
    rows, problems = rows_of(write(tmp_path, "a.jsonl", good + line + "\n" + good))
    assert len(rows) == 2
    assert len(problems) == 1
    assert problems[0].startswith(start)
    assert problems[0].endswith(end)


def test_12_a_last_line_cut_by_a_killed_writer_is_quarantined(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "lab')
    rows, problems = rows_of(path)
    assert rows == [["a", "x"]]
    assert problems == [
        'Q-DATA-030 a.jsonl:2: the last line is cut off: "{"text": "b", "lab". '
        "Write the file again, or remove this line."
    ]
    report = check_data(path)
    assert (report.rows, report.accepted, report.quarantined) == (2, 1, 1)


def test_12_a_list_at_the_top_and_pretty_printed_json_are_read(tmp_path):
    records = [{"text": "a", "label": "x"}, {"text": "b", "label": None}]
    for number, data in enumerate([records, {"version": 1, "data": records}]):
        for indent in (None, 2):
            path = write(tmp_path, f"{number}{indent}.json", json.dumps(data, indent=indent))
            assert rows_of(path)[0] == [["a", "x"], ["b", ""]]


@pytest.mark.parametrize(
    "data",
    [
        {"text": ["a", "b"], "label": ["x", None]},
        {"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": None}},  # pandas' to_json()
        {"0": {"text": "a", "label": "x"}, "1": {"text": "b", "label": None}},
        {"columns": ["text", "label"], "index": [0, 1], "data": [["a", "x"], ["b", None]]},
        {"schema": {"fields": []}, "data": [{"text": "a", "label": "x"}, {"text": "b"}]},
    ],
    ids=["columns", "numbered cells", "numbered records", "split", "table"],
)
def test_12_one_json_text_with_many_records_is_read_however_they_are_laid_out(data, tmp_path):
    rows, problems = rows_of(write(tmp_path, "a.json", json.dumps(data)))
    assert [row[0] for row in rows] == ["a", "b"]
    assert rows[0][1] == "x"
    assert problems == []


def test_12_what_is_one_record_stays_one(tmp_path):
    for data in (
        {"text": "a", "label": "x"},
        {"text": "a", "spans": [1, 2], "more": {"0": 1}},
        {"text": ["a", "b"], "label": ["x"]},  # of unlike length: no columns
        {"text": {"a": 1}, "label": {"b": 2}},
    ):
        rows, problems = rows_of(write(tmp_path, "a.json", json.dumps(data)))
        assert (len(rows), problems) == (1, [])
    split = {"columns": ["text", "label"], "data": [["a", "x"], ["b", "y", "z"]]}
    path = write(tmp_path, "a.json", json.dumps(split))
    rows, problems = rows_of(path)
    assert (rows, [one[:10] for one in problems]) == ([["a", "x"]], ["E-DATA-016"])
    several = {"train": [{"text": "a"}], "test": [{"text": "b"}]}
    (only,) = Corpus(write(tmp_path, "b.json", json.dumps(several))).survey().problems
    assert str(only) == (
        f"E-DATA-067 {tmp_path / 'b.json'}: the file holds 2 lists of records (train, test). Write "
        "each list into a file of its own."
    )


def test_12_pretty_printed_json_may_be_longer_than_what_a_format_is_told_by(tmp_path):
    records = [{"more": list(range(50)), "text": f"words {n}"} for n in range(40)]
    path = write(tmp_path, "a.json", json.dumps(records, indent=2))
    assert len(path.read_text().splitlines()) > SAMPLE_LINES
    assert list(Corpus(path).texts()) == [f"words {n}" for n in range(40)]
    (note,) = check_data(path).notes
    assert note == "a.json: JSON, fields more, text; text 'text'"
    one = write(tmp_path, "b.json", json.dumps([{"text": "a", "more": list(range(999))}], indent=2))
    assert list(Corpus(one).texts()) == ["a"]


def test_12_records_without_fields_are_set_aside(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n{}\n')
    said = f"Q-DATA-066 {path}:2: the record has no fields. Fill it in, or remove the row."
    assert [str(one) for one in Corpus(path).survey().problems] == [said]
    only = write(tmp_path, "b.jsonl", "{}\n{}\n")
    report = check_data(only)
    assert (report.rows, report.accepted, report.quarantined, report.usable) == (2, 0, 2, False)
    assert Corpus(only, bad_rows="skip").survey().documents == 0


def test_13_late_columns_changing_types_and_huge_numbers_stay_text(tmp_path):
    lines = [
        {"text": "a", "label": 1},
        {"text": "b", "label": "1"},
        {"text": "c", "label": 2, "new": 3},
    ]
    digits = "7" * 5000
    data = "\n".join(map(json.dumps, lines)) + f'\n{{"text": "d", "label": 2, "n": {digits}}}\n'
    path = write(tmp_path, "a.jsonl", data)
    assert load_labelled(path).labels.tolist() == [0, 0, 1, 1]
    assert rows_of(path)[0][3][2] == digits


def test_13_a_row_without_the_label_column_names_the_nearest_one(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "lable": "y"}\n')
    with pytest.raises(InputError) as caught:
        load_labelled(path)
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        "E-DATA-021 a.jsonl:2 column \"label\": no field 'label' (found: text, lable). "
        "Did you mean 'lable'? Write --label lable."
    )


def table(**columns):
    return pyarrow.table(columns)


def test_14_parquet_values_become_exact_text(tmp_path):
    path = tmp_path / "a.parquet"
    when = pyarrow.array([0, None], pyarrow.timestamp("s", tz="Asia/Shanghai"))
    parquet.write_table(
        table(
            text=["a", "b"],
            number=[2**53 + 1, None],
            money=[Decimal("1.10"), Decimal("2.00")],
            when=when,
            nested=[{"k": [1]}, {"k": []}],
            image=[b"\xff", b""],
        ),
        path,
    )
    rows, problems = rows_of(path)
    assert problems == []
    assert rows == [
        ["a", "9007199254740993", "1.10", "1970-01-01T08:00:00+08:00", '{"k":[1]}'],
        ["b", "", "2.00", "", '{"k":[]}'],
    ]


def test_14_bytes_that_are_text_are_read_as_text(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [f"句子 {n}".encode() for n in range(80)] + [b"caf\xe9", None]
    parquet.write_table(table(text=texts, label=["x", "y"] * 41), path)
    rows, problems = rows_of(path)
    assert (rows[0], rows[-1], len(rows)) == (["句子 0", "x"], ["", "y"], 81)
    assert problems == [
        'Q-DATA-068 a.parquet:81 column "text": the bytes are not UTF-8: "caf\\xe9". Store the '
        "column as text."
    ]
    assert not holds_images([path])
    assert check_data(path).notes == (
        "a.parquet: Parquet, columns text, label; text 'text', label 'label'",
    )


def test_14_damaged_parquet_is_never_a_traceback_nor_wrong_rows(tmp_path):
    texts = [f"text number {n}" for n in range(500)]
    path = tmp_path / "a.parquet"
    parquet.write_table(table(text=texts, label=["x", "y"] * 250), path, write_page_checksum=True)
    data = path.read_bytes()
    whole = rows_of(path)[0]
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        damaged[rng.integers(4, len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        found = list(read_rows(path))
        problems = [item for item in found if not isinstance(item, Row)]
        refused += bool(problems)
        if not problems:  # a bit that nothing reads, such as the writer's name
            assert [list(row.fields.values()) for row in found] == whole
        for one in problems:
            assert one.code in ("E-DATA-019", "E-DATA-020", "E-DATA-005")
    assert refused > 40
    path.write_bytes(data[:-20])
    problems = rows_of(path)[1]
    assert problems[0].startswith("E-DATA-019 a.parquet: the Parquet file is damaged after row 0: ")
    path.write_bytes(b"not parquet at all")
    assert rows_of(path)[1] == [
        "E-DATA-019 a.parquet: the file is not Parquet: it does not begin with PAR1. "
        "Copy or write the file again."
    ]


def test_14_extension_types_are_rejected_by_column(tmp_path):
    path = tmp_path / "a.parquet"
    ids = pyarrow.array([b"0123456789abcdef"], pyarrow.binary(16)).cast(pyarrow.uuid())
    parquet.write_table(table(text=["a"], key=ids), path)
    problems = rows_of(path)[1]
    assert problems[0].startswith(
        'E-DATA-020 a.parquet column "key": the column has the extension type'
    )


def test_15_shards_with_other_columns_are_warned_of(tmp_path):
    write(tmp_path, "a.csv", "text,label\none,x\ntwo,y\n")
    write(tmp_path, "b.csv", "label,text\nx,three\ny,four\n")
    write(tmp_path, "c.csv", "body,class\nfive,x\nsix,y\n")
    report = check_data(tmp_path)
    assert report.accepted == 6
    shards = [one for one in report.problems if one.code == "W-DATA-035"]
    assert [one.message for one in shards] == [
        "its columns (body, class) are not those of a.csv (text, label)."
    ]


def test_15_a_header_without_rows_is_rejected(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\n")
    with pytest.raises(InputError) as caught:
        load_labelled(path)
    assert str(caught.value) == (
        f"E-DATA-036 {path}: the file has a header but no rows. Add rows, or leave it out."
    )
    assert [one.code for one in check_data(path).problems] == ["E-DATA-036"]


def test_15_a_spreadsheet_named_csv_is_rejected(tmp_path):
    problems = rows_of(write(tmp_path, "a.csv", b"PK\x03\x04 rest"))[1]
    assert problems[0].startswith(
        "E-DATA-002 a.csv: the file is a zip archive (an .xlsx spreadsheet"
    )


def test_15_formulas_are_made_harmless_on_writing():
    assert spreadsheet_safe("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert spreadsheet_safe("plain = text") == "plain = text"

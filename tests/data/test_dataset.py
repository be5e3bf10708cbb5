import json

import numpy as np
import pytest

from headstart.data.check import check_data
from headstart.data.corpus import Corpus, column_of_all
from headstart.data.dataset import load_labelled
from headstart.errors import InputError
from headstart.words import in_language
from real_data import data_dir


def csv_file(tmp_path, rows, header="text,label"):
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_columns_are_found_by_their_names(tmp_path):
    path = csv_file(
        tmp_path,
        ["1,x,good review here,5", "2,y,bad review there,1"],
        header="id,Sentiment,Review,rating",
    )
    loaded = load_labelled(path)
    assert (loaded.text_column, loaded.label_column) == ("Review", "Sentiment")
    assert loaded.texts == ["good review here", "bad review there"]
    assert loaded.note == "a.csv: text 'Review', label 'Sentiment', classes (2), 2 rows"


def test_columns_with_other_names_are_found_by_their_values(tmp_path):
    rows = [f"{n},{'spam' if n % 3 else 'ham'},some words of message {n}" for n in range(30)]
    loaded = load_labelled(csv_file(tmp_path, rows, header="number,verdict,what they wrote"))
    assert (loaded.text_column, loaded.label_column) == ("what they wrote", "verdict")


def test_chinese_columns_and_classes_work(tmp_path):
    loaded = load_labelled(csv_file(tmp_path, ["很好,正面", "很差,负面"], header="内容,标签"))
    assert (loaded.text_column, loaded.label_column) == ("内容", "标签")
    assert loaded.classes == ["正面", "负面"]
    assert loaded.labels.tolist() == [0, 1]


def test_whole_numbers_of_few_values_are_classes_in_the_order_of_size(tmp_path):
    loaded = load_labelled(csv_file(tmp_path, [f"text {n},{n % 11}" for n in range(33)]))
    assert loaded.kind == "classes"
    assert loaded.classes == [str(n) for n in range(11)]
    assert loaded.labels.dtype == np.int64
    assert loaded.labels[10] == 10


@pytest.mark.parametrize(
    "values", [[f"{n}" for n in range(40)], ["0.5", "1.0", "2"] * 5, ["1e-3", "2", "-3.5"]]
)
def test_decimals_and_many_numbers_are_numbers(values, tmp_path):
    loaded = load_labelled(csv_file(tmp_path, [f"text {n},{v}" for n, v in enumerate(values)]))
    assert loaded.kind == "number"
    assert loaded.classes == []
    assert loaded.labels.tolist() == pytest.approx([float(value) for value in values])


def test_the_kind_can_be_given(tmp_path):
    path = csv_file(tmp_path, [f"text {n},{n % 4}" for n in range(12)])
    assert load_labelled(path, kind="number").labels.dtype == np.float32
    path = csv_file(tmp_path, [f"text {n},{n}" for n in range(40)])
    assert len(load_labelled(path, kind="classes").classes) == 40


def test_lists_and_repeating_parts_are_several_labels(tmp_path):
    wanted = [[1, 0, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]]
    joined = ["a|c", "b", "b|a", "a", "c"]
    loaded = load_labelled(csv_file(tmp_path, [f"text {n},{v}" for n, v in enumerate(joined)]))
    assert loaded.kind == "multilabel"
    assert loaded.classes == ["a", "b", "c"]
    assert loaded.labels.tolist() == wanted
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": "t", "label": value.split("|")}) for value in joined]
    path.write_text("\n".join(lines))
    assert load_labelled(path).labels.tolist() == wanted
    path.write_text("\n".join([*lines, json.dumps({"text": "none apply", "label": []})]))
    assert load_labelled(path).labels.tolist() == [*wanted, [0, 0, 0]]


def test_a_mark_that_joins_nothing_repeated_is_part_of_the_name(tmp_path):
    loaded = load_labelled(csv_file(tmp_path, ["a,on|off", "b,in;out", "c,on|off", "d,in;out"]))
    assert loaded.kind == "classes"
    assert loaded.classes == ["in;out", "on|off"]


def test_empty_texts_and_labels_are_quarantined_and_counted(tmp_path):
    loaded = load_labelled(csv_file(tmp_path, ["good,x", " ,y", "words,", "bad,y"]))
    assert (loaded.rows, len(loaded), loaded.quarantined) == (4, 2, 2)
    assert loaded.lines.tolist() == [2, 5]
    assert [str(one).split("a.csv")[1] for one in loaded.problems[:2]] == [
        ':3 column "text": the text is empty. Fill it in, or remove the row.',
        ':4 column "label": the label is empty. Fill it in, or remove the row.',
    ]
    assert loaded.note.endswith("2 rows, 2 quarantined")


def test_the_test_file_takes_the_classes_of_the_training_file(tmp_path):
    path = csv_file(tmp_path, ["a,c", "b,a"])
    loaded = load_labelled(path, kind="classes", classes=["a", "b", "c"])
    assert loaded.labels.tolist() == [2, 0]
    assert loaded.classes == ["a", "b", "c"]


def test_an_unknown_column_names_the_nearest(tmp_path):
    path = csv_file(tmp_path, ["a,x", "b,y"])
    with pytest.raises(InputError) as caught:
        load_labelled(path, text="texts")
    assert "no field 'texts' (found: text, label). Did you mean 'text'? Write --text text." in str(
        caught.value
    )


def test_a_file_without_labels_says_how_to_name_them(tmp_path):
    path = csv_file(tmp_path, [f"{n},words {n}" for n in range(9)], header="nr,text")
    with pytest.raises(InputError) as caught:
        load_labelled(path)
    assert str(caught.value) == (
        f"{path}: no column looks like labels (found: nr, text). Name it with --label COLUMN."
    )


def test_one_class_alone_is_refused(tmp_path):
    path = csv_file(tmp_path, ["a,x", "b,x"])
    with pytest.raises(InputError) as caught:
        load_labelled(path)
    assert str(caught.value) == (
        f'{path}: every row has the label "x", so there is nothing to tell apart. '
        "Add rows of another class."
    )


def test_only_the_first_twenty_problems_are_shown(tmp_path):
    with pytest.raises(InputError) as caught:
        load_labelled(csv_file(tmp_path, ["good,x"] + ["short"] * 30))
    assert str(caught.value).count("E-DATA-009") == 20
    assert str(caught.value).endswith("... and 10 more.")


def test_chosen_rows_keep_texts_labels_and_lines_together(tmp_path):
    loaded = load_labelled(csv_file(tmp_path, ["a,x", "b,y", "c,x"]))
    part = loaded.take(np.array([2, 0]))
    assert (part.texts, part.labels.tolist(), part.lines.tolist()) == (["c", "a"], [0, 0], [4, 2])
    assert part.classes == ["x", "y"]


def corpus_folder(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(f"line {n}" for n in range(60)))
    (tmp_path / "b.md").write_text("# Title\n\nOne paragraph.\r\n\nAnother.\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.jsonl").write_text('{"id": 1, "text": "json"}\n{"id": 2, "text": " "}\n')
    (tmp_path / "sub" / "d.png").write_text("not taken")
    (tmp_path / ".hidden.txt").write_text("not taken")
    return tmp_path


def test_a_folder_becomes_documents_in_a_fixed_order_as_often_as_asked(tmp_path):
    corpus = Corpus(corpus_folder(tmp_path))
    texts = list(corpus.texts())
    assert len(texts) == 62
    assert texts[:2] == ["line 0", "line 1"]
    assert texts[60:] == ["# Title\n\nOne paragraph.\n\nAnother.", "json"]
    assert list(corpus.texts()) == texts
    assert next(iter(corpus)).source.endswith("a.txt")


def test_the_survey_counts_and_echoes_what_was_decided(tmp_path):
    report = Corpus(corpus_folder(tmp_path)).survey()
    assert (report.files, report.documents, report.quarantined, report.rejected) == (3, 62, 1, 0)
    assert list(report.notes) == [
        "a.txt: one document a line",
        "b.md: the whole file is one document",
        "c.jsonl: JSON, fields id, text; text 'text'",
    ]
    for name in ("d", "e"):
        (tmp_path / f"{name}.md").write_text("# Another")
    alike = Corpus(tmp_path).survey().notes[1]
    assert alike == "b.md and 2 more: the whole file is one document"
    assert in_language(alike, "zh") == "b.md 及另外 2 个文件：整个文件是一篇文档"
    told = Corpus(tmp_path / "sub" / "c.jsonl", text="id").survey().notes
    assert list(told) == ["c.jsonl: JSON, fields id, text; text 'id'"]


def table_of_texts(place, **columns):
    """Twenty rows; columns: what a value is repeated of, and how often."""
    place.parent.mkdir(exist_ok=True)
    rows = ([f"{word} {n} " * times for word, times in columns.values()] for n in range(20))
    place.write_text("\n".join([",".join(columns), *map(",".join, rows)]) + "\n")
    return place


def test_texts_that_a_corpus_is_not_read_of_are_told_once(tmp_path):
    columns = {"id": ("i", 1), "问题": ("why", 9), "answer": ("so", 9), "hint": ("h", 1)}
    for name in ("a", "b"):
        place = table_of_texts(tmp_path / "tables" / f"{name}.csv", **columns)
    found = Corpus(place.parent).survey()
    first = place.parent / "a.csv"
    said = (
        f"W-DATA-065 {first}: only the column '问题' is read, but texts stand in answer too. Write "
        "--text '问题+answer' to read them as one text."
    )
    assert [str(one) for one in found.problems] == [said]
    assert in_language(said, "zh") == (
        f"W-DATA-065 {first}: 只读取“问题”列，但 answer 中也有文本。写 --text '问题+answer' "
        "可把它们连成一条文本读取。"
    )
    assert [str(one) for one in check_data(first).problems if "065" in one.code] == [said]
    both = Corpus(place.parent, text="问题+answer")
    assert both.survey().problems == ()
    assert set(next(both.texts()).split()) == {"why", "so", "0"}
    labelled = table_of_texts(tmp_path / "labelled.csv", **columns, label=("l", 1))
    assert not any("065" in one.code for one in check_data(labelled).problems)


def test_texts_that_are_json_objects_are_told(tmp_path):
    chats = [[{"role": "user", "content": f"hello {n}"}] for n in range(20)]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    said = (
        f'W-DATA-069 {path}:1 column "messages": the texts are JSON objects, which are read as '
        'they stand, with their names and brackets: "[{"role":"user","content":"hello 0"}]". Write '
        "the words alone into a column of their own."
    )
    assert [str(one) for one in Corpus(path).survey().problems] == [said]
    assert [str(one) for one in check_data(path).problems if "069" in one.code] == [said]
    path.write_text("".join(json.dumps({"messages": ["hello", "you"]}) + "\n" for _ in chats))
    assert Corpus(path).survey().problems == ()


def test_a_column_is_of_a_whole_corpus_if_every_table_has_it(tmp_path):
    table_of_texts(tmp_path / "a.csv", title=("t", 1), body=("b", 9))
    (tmp_path / "notes.txt").write_text("no table")
    paths = [str(tmp_path)]
    assert column_of_all(paths, "title+body") == "title+body"
    assert column_of_all(paths, "body") == "body"
    assert [column_of_all(paths, None), column_of_all([], "body")] == [None, None]
    assert column_of_all([str(tmp_path / "notes.txt")], "body") is None
    table_of_texts(tmp_path / "b.csv", title=("t", 1), text=("b", 9))
    assert column_of_all(paths, "title+body") is None
    assert column_of_all(paths, "title") == "title"


def test_lines_or_whole_files_can_be_asked_for(tmp_path):
    corpus_folder(tmp_path)
    assert len(list(Corpus(tmp_path / "a.txt", lines=False))) == 1
    assert len(list(Corpus(tmp_path / "b.md", lines=True))) == 3


def test_a_long_file_is_passed_on_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("headstart.data.files.LONGEST_DOCUMENT", 100)
    text = "\n\n".join(f"paragraph number {n}" for n in range(30))
    (tmp_path / "book.txt").write_text(text)
    documents = list(Corpus(tmp_path, lines=False))
    assert len(documents) > 3
    assert "".join(d.text for d in documents).replace("\n", "") == text.replace("\n", "")
    assert documents[1].line == 1 + sum(d.text.count("\n") + 2 for d in documents[:1])


def test_documents_left_out_keep_the_numbers_of_the_others(tmp_path):
    corpus = Corpus(corpus_folder(tmp_path)).without([0, 61])
    assert len(list(corpus)) == 60
    assert next(iter(corpus)).text == "line 1"
    assert len(list(corpus.numbered())) == 62
    assert len(list(corpus.without([1]))) == 59


def test_a_file_that_cannot_be_read_stops_the_corpus_or_is_skipped(tmp_path):
    corpus_folder(tmp_path)
    (tmp_path / "z.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="byte 0xe9 at offset 3 is not UTF-8"):
        list(Corpus(tmp_path))
    skipping = Corpus(tmp_path, bad_rows="skip")
    assert len(list(skipping)) == 62
    assert skipping.survey().rejected == 1


def test_paths_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere does not exist\. Check the path"):
        Corpus(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no data file under"):
        Corpus(tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "options", "rows", "classes", "columns"),
    [
        ("imdb", "test.parquet", {}, 5000, 2, ("text", "label")),
        ("ag_news", "train_5k.csv.gz", {}, 4999, 4, ("column_1", "column_2")),
        ("ag_news", "test.csv.gz", {"text": "column_2+column_3"}, 7600, 4, (None, "column_1")),
        ("banking77", "train.csv.gz", {}, 10003, 77, ("text", "category")),
        ("sms_spam", "SMSSpamCollection.gz", {}, 5574, 2, ("column_2", "column_1")),
        ("chnsenticorp", "train.tsv.gz", {}, 9600, 2, ("text_a", "label")),
        ("fewclue_eprstmt", "test_public.json", {}, 610, 2, ("sentence", "label")),
        ("thucnews_titles", "dev.txt.gz", {}, 10000, 10, ("column_1", "column_2")),
    ],
)
def test_public_data_sets_are_read_in_full_without_being_told_how(
    name, file, options, rows, classes, columns
):
    loaded = load_labelled(data_dir(name) / file, **options)
    assert (len(loaded), loaded.quarantined, len(loaded.classes)) == (rows, 0, classes)
    assert loaded.text_column == (columns[0] or options["text"])
    assert loaded.label_column == columns[1]


@pytest.mark.parametrize(
    ("name", "file", "documents"),
    [
        ("ag_news", "unlabelled.txt.gz", 9307),
        ("fewclue_eprstmt", "unlabeled.json.gz", 19565),
        ("imdb", "unsupervised.parquet", 20000),
        ("chinese_poetry", "songci_validation.jsonl.gz", 1000),
    ],
)
def test_public_corpora_are_read_in_full(name, file, documents):
    report = Corpus(data_dir(name) / file).survey()
    assert (report.documents, report.quarantined, report.rejected) == (documents, 0, 0)


def test_words_for_no_value_among_numbers_are_told_and_not_taken_in_silence(tmp_path):
    values = [f"{n}.5" for n in range(1, 31)]
    values[2], values[9], values[20:26] = "NA", "n/a", ["NaN"] * 6
    rows = [f"words {n},{value}" for n, value in enumerate(values)]
    found = load_labelled(csv_file(tmp_path, rows))
    assert found.kind == "classes"
    assert [str(one).split("a.csv")[1] for one in found.problems] == [
        ' column "label": 8 labels say that there is none ("NA", "NaN", "n/a") among numbers, so '
        "all are taken for classes: rows 4, 11, 22, 23, 24, .... Leave these cells empty: the rows "
        "are set aside, and the labels are numbers."
    ]
    emptied = [row if row[-1].isdigit() else row.split(",")[0] + "," for row in rows]
    found = load_labelled(csv_file(tmp_path, emptied))
    assert (found.kind, len(found), found.quarantined) == ("number", 22, 8)
    with pytest.raises(InputError) as caught:
        load_labelled(csv_file(tmp_path, rows), kind="number")
    assert str(caught.value).split("\n")[0].split("a.csv")[1] == (
        ':4 column "label": "NA" is not a plain number. Leave the cell empty, and the row is set '
        "aside."
    )


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        (["0", "1", "1", "0", "none"], "Leave these cells empty, and the rows are set aside."),
        (["good", "bad", "none", "3", "4"], ""),
        (["1", "none", "none", "1", "none"], ""),
        (["none", "some", "all", "some", "none"], ""),
    ],
)
def test_a_class_named_none_is_a_class_where_the_others_are_no_numbers(values, remark, tmp_path):
    path = csv_file(tmp_path, [f"words {n},{value}" for n, value in enumerate(values)])
    told = [one for one in load_labelled(path).problems if one.code == "W-DATA-063"]
    assert [one.fix for one in told] == [remark] * bool(remark)
    assert [one for one in load_labelled(path, kind="classes").problems if one in told] == []
    assert [one for one in check_data(path).problems if one.code == "W-DATA-063"] == told


@pytest.mark.parametrize(
    ("header", "read", "unread", "both"),
    [
        ("Sentence1,sentence2,label", "Sentence1", "sentence2", "Sentence1+sentence2"),
        ("label,hypothesis,premise", "premise", "hypothesis", "premise+hypothesis"),
        ("question,sentence,label", "sentence", "question", "question+sentence"),
        ("句子1,句子2,标签", "句子1", "句子2", "'句子1+句子2'"),
    ],
)
def test_of_a_pair_of_columns_the_one_that_is_not_read_is_named(
    header, read, unread, both, tmp_path
):
    rows = ["a b,c d,x", "e f,g h,y"]
    if header.startswith("label"):
        rows = ["x,a b,c d", "y,e f,g h"]
    path = csv_file(tmp_path, rows, header=header)
    said = (
        f"W-DATA-064 {path} column \"{unread}\": it seems to belong to '{read}', but only that is "
        f"read. Write --text {both} to read both as one text."
    )
    assert [str(one) for one in load_labelled(path).problems if "064" in one.code] == [said]
    assert [str(one) for one in check_data(path).problems if "064" in one.code] == [said]
    told = load_labelled(path, text=both.strip("'"))
    assert not any("064" in one.code for one in told.problems)
    assert len(told.texts[0].split()) == 4
    assert not any("064" in p.code for p in check_data(path, text=both.strip("'")).problems)

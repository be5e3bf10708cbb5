"""Fifteen kinds of nasty plain text (each made here), with the outcome each must have."""

import codecs
import gzip
import io
import json
import zipfile

import pytest

from headstart.data.check import check_data
from headstart.data.corpus import Corpus
from headstart.data.files import Document, read_documents
from headstart.data.record import Problem
from headstart.errors import InputError

LINES = "\n".join(f"line number {n} of the file" for n in range(60)) + "\n"


def read(tmp_path, name, data, **options):
    path = tmp_path / name
    path.write_bytes(data)
    items = list(read_documents([path], **options))
    documents = [item.text for item in items if isinstance(item, Document)]
    problems = [
        str(item).replace(str(tmp_path) + "/", "") for item in items if isinstance(item, Problem)
    ]
    return documents, problems


def outcomes(tmp_path):
    report = check_data(tmp_path)
    assert report.rows == report.accepted + report.quarantined + report.rejected
    return report, [(one.outcome, one.code[-3:]) for one in report.problems]


def test_01_byte_order_marks_at_the_start_and_inside_are_left_out(tmp_path):
    mark = codecs.BOM_UTF8
    assert read(tmp_path, "a.txt", mark + b"one\n" + mark + b"two\n") == (["one\ntwo"], [])


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_02_utf16_is_read_with_its_mark_and_rejected_without(codec, tmp_path):
    mark = codecs.BOM_UTF16_LE if codec.endswith("le") else codecs.BOM_UTF16_BE
    text = "English words and 中文\n"
    assert read(tmp_path, "a.txt", mark + text.encode(codec)) == ([text.strip()], [])
    plain = ("plain words " * 20).encode(codec)
    assert read(tmp_path, "b.txt", plain) == (
        [],
        [
            f"E-DATA-001 b.txt: the file looks like {codec} without a byte order mark. "
            f"Convert it to UTF-8, or add --set data.encoding={codec}."
        ],
    )
    assert read(tmp_path, "b.txt", plain, encoding=codec) == (
        [("plain words " * 20).strip("\n")],
        [],
    )


def test_03_one_foreign_byte_is_named_with_its_offset_and_the_encoding_that_fits(tmp_path):
    data = b"first line\nit\x92s here\n"
    documents, problems = read(tmp_path, "a.txt", data)
    assert documents == []
    assert problems == [
        "E-DATA-001 a.txt:2: byte 0x92 at offset 13 is not UTF-8; the file looks like cp1252. "
        "Convert it to UTF-8, or add --set data.encoding=cp1252."
    ]
    assert read(tmp_path, "a.txt", data, encoding="cp1252") == (["first line\nit’s here"], [])


@pytest.mark.parametrize("size", [5, 300_000, 1_200_000])
def test_03_the_offset_is_right_wherever_the_byte_stands(size, tmp_path):
    data = ("é" * size).encode() + b"\xff" + b"after"
    _, problems = read(tmp_path, "a.txt", data)
    assert f"byte 0xff at offset {2 * size} is not UTF-8" in problems[0]


@pytest.mark.parametrize("codec", ["gb18030", "big5", "shift_jis"])
def test_03_the_likely_encoding_of_east_asian_text_is_suggested(codec, tmp_path):
    text = {"gb18030": "今天天气很好，我们去公园玩。", "big5": "今天天氣很好，我們去公園玩。"}.get(
        codec, "きょうはいいてんきですね。こうえんへいきます。"
    )
    _, problems = read(tmp_path, "a.txt", (text * 30).encode(codec))
    assert f"the file looks like {codec}." in problems[0]


def test_04_letters_broken_by_double_encoding_are_counted_with_a_warning(tmp_path):
    lines = [f"clean line {n}" for n in range(60)] + ["cafÃ© one", "itâ€™s two", "naÃ¯ve"]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    report, found = outcomes(tmp_path)
    assert found == [("warn", "027")]
    assert report.accepted == 63
    assert "3 texts hold letters broken by a wrong encoding" in report.problems[0].message


def test_05_control_characters_are_kept_warned_of_and_never_shown_raw(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"bell \x07 nul \x00 red \x1b[31m back \x08\n")
    report, found = outcomes(tmp_path)
    assert found == [("warn", "026")]
    message = str(report.problems[0])
    assert r"bell \x07 nul \x00 red \x1b[31m back \x08" in message
    assert message.isprintable()


def test_06_lone_surrogates_from_json_escapes_are_quarantined(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"text": "half \\ud83d of it"}\n')
    report, found = outcomes(tmp_path)
    assert found == [("quarantine", "018")]
    assert (report.rows, report.accepted, report.quarantined) == (2, 1, 1)
    assert str(report.problems[0]).endswith(
        'a.jsonl:2 column "text": half of a surrogate pair is no character: '
        '"half \\ud83d of it". Write the character whole, or remove it.'
    )


def test_07_only_the_three_line_ends_end_lines(tmp_path):
    strange = "a\u2028b\u2029c\u0085d\x0be\x0cf"
    data = "\n".join([strange] * 60)
    documents, problems = read(tmp_path, "a.txt", data.encode())
    assert documents == [strange] * 60
    assert problems == []


def test_08_a_huge_line_is_read_or_rejected_with_the_limit(tmp_path, monkeypatch):
    assert read(tmp_path, "a.txt", b"x" * 3_000_000)[0] == ["x" * 3_000_000]
    monkeypatch.setattr("headstart.data.opening.LONGEST_LINE", 1000)
    assert read(tmp_path, "b.txt", b"short\n" + b"x" * 5000) == (
        [],
        ["E-DATA-006 b.txt:2: the line is longer than 1000 characters. Break it into lines."],
    )


@pytest.mark.parametrize("data", [b"", b" \n\t\n", codecs.BOM_UTF8, codecs.BOM_UTF8 + b"\n"])
def test_09_empty_files_are_rejected_alone_and_warned_of_among_others(data, tmp_path):
    assert read(tmp_path, "a.txt", data) == (
        [],
        ["E-DATA-005 a.txt: the file is empty. Fill it, or leave it out."],
    )
    with pytest.raises(InputError, match="the file is empty"):
        list(Corpus(tmp_path))
    (tmp_path / "b.txt").write_text("some text")
    assert [document.text for document in Corpus(tmp_path)] == ["some text"]
    assert outcomes(tmp_path)[1] == [("warn", "005")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_10_every_kind_of_line_end_gives_the_same_lines(end, tmp_path):
    wanted = [f"line {n}" for n in range(60)]
    assert read(tmp_path, "a.txt", end.join(wanted).encode()) == (wanted, [])
    mixed = "".join(line + ("\r\n", "\n", "\r")[n % 3] for n, line in enumerate(wanted))
    assert read(tmp_path, "b.txt", mixed.encode()) == (wanted, [])


def test_11_one_text_in_many_guises_is_accepted_and_recognised(tmp_path):
    from headstart.data.leaks import find_leaks

    test = ["The café of Zoë is open all day"]
    guises = [
        "The cafe\u0301 of Zoe\u0308 is open all day",
        "The ca\u200bfé of Zo\u200dë is open all day",
        "\u202eThe café of Zoë is open all day\u202c",
        "Thе cаfé оf Zoë is ореn all day",  # Cyrillic а, е, о, р
        "ＴＨＥ café of ZOË is open — all day!",
    ]
    assert find_leaks(guises, test=test).corpus == {"normalised": 5}
    (tmp_path / "a.txt").write_text("\n".join(guises * 12), encoding="utf-8")
    assert outcomes(tmp_path)[0].accepted == 60


def test_12_piled_up_accents_and_forbidden_characters_are_warned_of(tmp_path):
    strange = ["a" + "\u0301" * 10_000, "non \ufdd0 character", "private \ue000 use"]
    (tmp_path / "a.txt").write_text(LINES + "\n".join(strange), encoding="utf-8")
    report, found = outcomes(tmp_path)
    assert found == [("warn", "028")]
    assert report.problems[0].line == 61
    assert report.problems[0].message.startswith("3 texts hold piled-up accents")
    assert len(str(report.problems[0])) < 1000


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7 ...", "a PDF"),
        (zipped(), "a zip archive (an .xlsx spreadsheet or a .docx document is one)"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (bytes(range(40)) + bytes(200), "binary data"),
        (gzip.compress(gzip.compress(b"text", mtime=0), mtime=0), "gzip inside gzip"),
    ],
)
def test_13_files_that_are_no_text_are_named_as_what_they_are(data, what, tmp_path):
    assert read(tmp_path, "a.txt", data) == (
        [],
        [
            f"E-DATA-002 a.txt: the file is {what}, not text. "
            "Export it as text, CSV, JSON lines or Parquet."
        ],
    )


def test_13_gzip_is_opened_with_one_member_or_two_and_whatever_the_name(tmp_path):
    packed = gzip.compress(b"first part, ") + gzip.compress(b"second part")
    assert read(tmp_path, "a.txt", packed) == (["first part, second part"], [])
    assert read(tmp_path, "a.txt.gz", packed) == (["first part, second part"], [])


def test_13_a_cut_gzip_file_is_rejected(tmp_path):
    _, problems = read(tmp_path, "a.txt.gz", gzip.compress(LINES.encode())[:-9])
    assert problems == [
        "E-DATA-003 a.txt.gz: the gzip file is damaged or cut off (Compressed file ended before "
        "the end-of-stream marker was reached). Copy or download it again."
    ]


def test_13_a_gzip_bomb_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("headstart.data.opening.INFLATION_FREE", 1 << 20)
    _, problems = read(tmp_path, "a.txt.gz", gzip.compress(b"a" * 4_000_000))
    assert len(problems) == 1
    assert problems[0].startswith("E-DATA-004 a.txt.gz: the gzip file holds more than ")
    assert problems[0].endswith("over 300 times its own size. If it is meant to, unpack it first.")


def test_14_special_tokens_in_the_text_stay_characters(tmp_path):
    from headstart.data.text import encode, special_ids, train_tokenizer

    text = "a [MASK] and <|endoftext|> and [SEP]"
    documents, problems = read(tmp_path, "a.txt", text.encode())
    assert (documents, problems) == ([text], [])
    tokenizer = train_tokenizer(documents * 3, kind="bpe", vocab_size=300)
    ids = special_ids(tokenizer)
    assert not {ids.mask, ids.sep} & set(encode(tokenizer, documents).tokens.tolist())


@pytest.mark.parametrize("text", ["a" * 1_000_000, "QUJD" * 250_000, "ภาษาไทยไม่มีช่องว่าง" * 20_000])
def test_15_endless_words_are_accepted(text, tmp_path):
    assert read(tmp_path, "a.txt", text.encode()) == ([text], [])


def test_messages_of_every_text_problem_name_file_and_fix(tmp_path):
    for name, data in {"a.txt": b"\xff", "b.txt": b"%PDF", "c.txt": b"", "d.json": b"{"}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "e.jsonl").write_text(json.dumps({"text": "ok"}))
    report = check_data(tmp_path)
    assert len(report.problems) == 4
    for one in report.problems:
        assert one.source.startswith(str(tmp_path))
        assert one.message.endswith(".")
        assert one.fix.endswith(".")

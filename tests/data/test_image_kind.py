import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from headstart.data.image_kind import holds_images
from headstart.errors import InputError
from pictures import corners, encoded


def write(path, data=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(corners()) if data is None else data)
    return path


def table(folder, rows, name="images.jsonl"):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return write(folder / name, text.encode())


def test_images_are_told_from_text_without_a_flag(tmp_path):
    images, mixed, notes = tmp_path / "images", tmp_path / "mixed", tmp_path / "notes"
    write(images / "cat" / "a.png")
    write(images / "metadata.csv", b"file_name\n")
    for name in ("a.md", "b.txt", "c.txt"):
        write(notes / name, b"words")
        write(mixed / name, b"words")
    write(mixed / "logo.png")
    paths = table(tmp_path / "t", [{"image": "a.png", "label": 1}])
    words = table(tmp_path / "t", [{"text": "see a.png", "label": 1}], "words.jsonl")
    blobs = tmp_path / "p" / "x.parquet"
    blobs.parent.mkdir()
    parquet.write_table(pa.table({"image": [encoded(corners())], "caption": ["a"]}), blobs)
    for path in (images, images / "cat" / "a.png", paths, blobs, blobs.parent):
        assert holds_images([path]), path
    for path in (mixed, notes, words, tmp_path / "t", tmp_path / "missing"):
        assert not holds_images([path]), path
    assert holds_images([images, blobs])
    with pytest.raises(InputError) as caught:
        holds_images([images, notes])
    assert str(caught.value) == (
        f"{images} holds images, but {notes} holds text: give one kind at a time"
    )


BOTH = "note.csv: column 'image' has images and 'text' has text; "
TEXT = BOTH + "the text is read (--set images.column=image reads the images)"
IMAGES = BOTH + "the images are read (--text text reads the text)"


@pytest.mark.parametrize(
    ("asked", "is_images", "said"),
    [
        ({}, True, [IMAGES]),
        ({"text": "text"}, False, [TEXT]),
        ({"reads": "text"}, False, [TEXT]),
        ({"reads": "images"}, True, [IMAGES]),
        ({"image": "image"}, True, []),
        ({"image": "image", "text": "text"}, True, []),
    ],
)
def test_a_table_of_both_is_what_was_asked_for_and_that_is_said(tmp_path, asked, is_images, said):
    write(tmp_path / "note.csv", b"text,image\nsome words,a.png\nother words,b.png\n")
    notes = []
    assert holds_images([tmp_path / "note.csv"], **asked, note=notes.append) is is_images
    assert [str(note) for note in notes] == said


def test_a_column_of_bytes_that_are_no_images_makes_no_table_of_images(tmp_path):
    path, said = tmp_path / "a.parquet", []
    rows = {"text": ["a b"] * 30, "hash": [b"\x00\x01"] * 30, "label": ["x", "y"] * 15}
    parquet.write_table(pa.table(rows), path)
    assert not holds_images([path], note=lambda line: said.append(str(line)))
    assert said == [
        "a.parquet: the bytes in 'hash' are not read (--set images.column=COLUMN reads images)"
    ]
    pictures = [None, *[encoded(corners())] * 29]
    parquet.write_table(pa.table({**rows, "data": pictures}), path)
    assert holds_images([path])
    parquet.write_table(pa.table({**rows, "image": [b"damaged\x00"] * 30}), path)
    assert holds_images([path])  # its name says what it should hold


def test_what_was_asked_for_decides_nothing_where_there_is_only_one_of_both(tmp_path):
    write(tmp_path / "images" / "a.png")
    write(tmp_path / "words.csv", b"text,label\nsome words,a\n")
    notes = []
    for asked in ({}, {"text": "text"}, {"reads": "text"}, {"reads": "images"}):
        assert holds_images([tmp_path / "images"], **asked, note=notes.append)
        assert not holds_images([tmp_path / "words.csv"], **asked, note=notes.append)
    assert notes == []

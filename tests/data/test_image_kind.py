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

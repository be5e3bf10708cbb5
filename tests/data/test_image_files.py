import json
import os

import pyarrow as pa
import pytest
from pyarrow import parquet

from headstart.data.image_files import Picture, find_images, read_pictures
from headstart.data.record import Problem
from headstart.errors import InputError
from pictures import corners, encoded


def write(path, data=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(corners()) if data is None else data)
    return path


def found(*paths, **options):
    items = list(read_pictures(find_images(list(paths), **options)))
    pictures = [item for item in items if isinstance(item, Picture)]
    return pictures, [str(item) for item in items if isinstance(item, Problem)]


def table(folder, rows, name="images.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_folder_is_a_class_for_every_folder_in_it_in_a_fixed_order(tmp_path):
    for name in ("猫/b.png", "猫/a.JPG", "dog/deep/down/c.webp"):
        write(tmp_path / name)
    pictures, problems = found(tmp_path)
    assert [(p.path.name, p.label) for p in pictures] == [
        ("c.webp", "dog"),
        ("a.JPG", "猫"),
        ("b.png", "猫"),
    ]
    assert not problems


def test_a_flat_folder_has_no_classes(tmp_path):
    write(tmp_path / "a.png")
    write(tmp_path / "b.tif")
    pictures, _ = found(tmp_path)
    assert [p.label for p in pictures] == ["", ""]
    assert find_images([tmp_path])[0].note == f"{tmp_path.name}: 2 images, one flat folder"


def test_what_is_no_image_is_counted_and_hidden_files_are_no_classes(tmp_path):
    write(tmp_path / "cat" / "a.png")
    for name in ("Thumbs.db", "cat/notes.txt", "cat/.DS_Store", "cat/._a.png"):
        write(tmp_path / name, b"x")
    write(tmp_path / ".ipynb_checkpoints" / "a.png")
    pictures, _ = found(tmp_path)
    assert [p.label for p in pictures] == ["cat"]
    assert find_images([tmp_path])[0].note == (
        f"{tmp_path.name}: 1 images, 1 class folders; 2 other files passed over (1 .db, 1 .txt)"
    )


def test_odd_file_names_are_read(tmp_path):
    names = ["-rf.png", "a b%20.png", "new\nline.png", "n" * 240 + ".png", "ä.png"]
    for name in names:
        write(tmp_path / "c" / name)
    write(tmp_path / "c" / os.fsdecode(b"\xff\xfe.png"))
    pictures, problems = found(tmp_path)
    assert len(pictures) == 6
    assert not problems
    assert all(isinstance(picture.read(), bytes) for picture in pictures)


def test_links_out_of_the_folder_loops_and_pipes_are_set_aside(tmp_path):
    outside = write(tmp_path / "outside.png")
    root = tmp_path / "root"
    write(root / "c" / "real.png")
    (root / "c" / "inside.png").symlink_to("real.png")
    (root / "c" / "out.png").symlink_to(outside)
    (root / "c" / "broken.png").symlink_to("nowhere.png")
    (root / "c" / "loop").symlink_to(root)
    os.mkfifo(root / "c" / "pipe.png")
    pictures, problems = found(root)
    assert sorted(p.path.name for p in pictures) == ["inside.png", "real.png"]
    fix = "so it is not opened. Put the image itself in its place."
    assert sorted(problems) == [
        f"Q-DATA-049 {root}/c/broken.png: it is a broken link or no regular file, {fix}",
        f"Q-DATA-049 {root}/c/loop: it is a link to a folder, {fix}",
        f"Q-DATA-049 {root}/c/out.png: it is a link that leads out of its folder, {fix}",
        f"Q-DATA-049 {root}/c/pipe.png: it is a broken link or no regular file, {fix}",
    ]


def test_splits_are_not_taken_for_classes(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split / "cat" / "a.png")
    with pytest.raises(InputError) as caught:
        find_images([tmp_path], labelled=True)
    assert str(caught.value) == (
        f"{tmp_path} holds the splits test, train, not classes: give one of them, "
        f"as in {tmp_path / 'test'}"
    )
    assert len(found(tmp_path)[0]) == 2  # without labels it is just images


def test_empty_class_folders_and_names_that_differ_in_case_are_remarked_on(tmp_path):
    write(tmp_path / "Cat" / "a.png")
    write(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    _, problems = found(tmp_path, labelled=True)
    assert problems == [
        f"W-DATA-054 {tmp_path}/dog: the class folder holds no image, so there is no such class. "
        "Fill it, or remove it.",
        f"W-DATA-054 {tmp_path}/cat: the class folders 'Cat' and 'cat' differ only in case. "
        "If they are one class, put their images in one folder.",
    ]


def test_a_table_names_images_beside_it(tmp_path):
    write(tmp_path / "images" / "a.png")
    rows = [{"file_name": "images/a.png", "label": "cat", "caption": "a cat"}]
    path = table(tmp_path, rows)
    pictures, problems = found(path)
    assert [(p.path, p.line, p.label, p.captions) for p in pictures] == [
        (tmp_path / "images" / "a.png", 1, "cat", ("a cat",))
    ]
    assert not problems
    assert find_images([path])[0].note == (
        "images.jsonl: 1 rows, images 'file_name', label 'label', captions 'caption'"
    )


def test_csv_and_tsv_tables_are_read_like_json_lines(tmp_path):
    write(tmp_path / "a.png")
    write(tmp_path / "b.png")
    for name, mark in (("t.csv", ","), ("t.tsv", "\t")):
        rows = ["photo,what", "a.png,cat", "b.png,dog"]
        path = tmp_path / name
        path.write_text("\n".join(rows).replace(",", mark) + "\n", encoding="utf-8")
        pictures, problems = found(path, labelled=True)
        assert [(p.path.name, p.label) for p in pictures] == [("a.png", "cat"), ("b.png", "dog")]
        assert not problems


def test_a_folder_with_a_metadata_table_is_that_table(tmp_path):
    write(tmp_path / "a.png")
    write(tmp_path / "not in the table.png")
    table(tmp_path, [{"file_name": "a.png", "label": "x"}], "metadata.jsonl")
    pictures, _ = found(tmp_path)
    assert [(p.path.name, p.label) for p in pictures] == [("a.png", "x")]


LEADING_OUT = [
    *(
        (name, "{} leads out of the table's folder. Put the images below the table's folder.")
        for name in ("../secret.png", "inside/../../secret.png", "link.png")
    ),
    *(
        (name, "{} is an absolute path; paths are looked for beside the table. "
         "Write it relative to the table's folder.")
        for name in ("/etc/passwd.png", "C:\\x.png", "\\\\host\\x.png", "~/x.png")
    ),
    *(
        (name, "{} is an address, and nothing is ever fetched. "
         "Download the images, and write their paths beside the table.")
        for name in ("http://x.y/a.png", "file:///a.png", "data:text/html;base64,AA", "s3://b/a.png")
    ),
    ("a\0.png", "{} is not a path. Write the path of an image beside the table."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "message"), LEADING_OUT)
def test_a_path_that_leads_out_is_refused(tmp_path, name, message):
    write(tmp_path / "secret.png")
    folder = tmp_path / "t"
    write(folder / "inside" / "a.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    path = table(folder, [{"image": "inside/a.png"}, {"image": name}])
    pictures, problems = found(path, image="image")
    assert len(pictures) == 1
    shown = name.replace("\0", "\\x00")
    assert problems == [f'E-DATA-046 {path}:2 column "image": ' + message.format(f'"{shown}"')]


@pytest.mark.parametrize(
    "name", ["Images\\Red Cat.PNG", "images/red%20cat.png", "IMAGES/red cat.png"]
)
def test_a_path_that_is_written_differently_names_the_file_there_is(tmp_path, name):
    write(tmp_path / "images" / "red cat.png")
    path = table(tmp_path, [{"image": name}])
    _, problems = found(path, image="image")
    shown = name.replace("\\", "\\")
    assert problems == [
        f'E-DATA-047 {path}:1 column "image": there is no file "{shown}", '
        'but there is "images/red cat.png". Write the path as the file is named.'
    ]


def test_a_missing_image_is_set_aside_with_the_most_alike(tmp_path):
    write(tmp_path / "images" / "cat_001.png")
    rows = [{"image": "images/cat_01.png"}, {"image": "x.png"}, {"image": ""}, {"image": "images"}]
    path = table(tmp_path, rows)
    pictures, problems = found(path, image="image")
    assert not pictures
    there = f"Q-DATA-047 {path}"
    assert problems == [
        f'{there}:1 column "image": there is no file "images/cat_01.png" in {tmp_path}. '
        'The most alike is "cat_001.png". Add the image, or remove the row.',
        f'{there}:2 column "image": there is no file "x.png" in {tmp_path}. '
        "Add the image, or remove the row.",
        f'Q-DATA-040 {path}:3 column "image": there is no image. Fill it in, or remove the row.',
        f'Q-DATA-049 {path}:4 column "image": "images" is no regular file, so it is not opened. '
        "Put the image itself in its place.",
    ]


def test_parquet_holds_bytes_or_hugging_face_structs(tmp_path):
    data = encoded(corners())
    write(tmp_path / "beside.png")
    plain = pa.table({"image": [data, None], "label": [3, 4]})
    struct = pa.table(
        {
            "picture": [
                {"bytes": data, "path": "/elsewhere/a.png"},
                {"bytes": None, "path": "beside.png"},
                {"bytes": None, "path": "/etc/a.png"},
                {"bytes": None, "path": None},
            ],
            "text": ["a", ["b", "c"][0], "d", "e"],
        }
    )
    parquet.write_table(plain, tmp_path / "plain.parquet")
    parquet.write_table(struct, tmp_path / "struct.parquet")
    pictures, problems = found(tmp_path / "plain.parquet")
    assert [(p.data, p.label, p.line) for p in pictures] == [(data, "3", 1)]
    assert len(problems) == 1
    pictures, problems = found(tmp_path / "struct.parquet")
    assert [p.read() for p in pictures] == [data, data]
    assert [p.captions for p in pictures] == [("a",), ("b",)]
    assert [problem.split(" ")[0] for problem in problems] == ["E-DATA-046", "Q-DATA-040"]


def test_several_captions_an_image_come_as_a_list(tmp_path):
    write(tmp_path / "a.png")
    rows = [
        {"image": "a.png", "captions": ["one ", " ", "二"]},
        {"image": "a.png", "captions": "[x"},
    ]
    pictures, _ = found(table(tmp_path, rows))
    assert [p.captions for p in pictures] == [("one", "二"), ("[x",)]


def test_a_table_of_images_alone_has_no_labels(tmp_path):
    write(tmp_path / "a.png")
    path = table(tmp_path, [{"image": "a.png"}])
    with pytest.raises(InputError) as caught:
        find_images([path], labelled=True)
    assert str(caught.value) == (
        f"{path}: there is no column beside that of the images ('image'), but labels are needed. "
        "Add one"
    )


def test_columns_that_cannot_be_told_are_asked_for(tmp_path):
    write(tmp_path / "a.png")
    path = table(tmp_path, [{"image": "a.png", "colour": "red", "size": "big"}])
    with pytest.raises(InputError) as caught:
        find_images([path], labelled=True)
    assert str(caught.value) == (
        f"{path}: no column is named like a label (found: colour, size). "
        "Name it with --label COLUMN"
    )
    with pytest.raises(InputError) as caught:
        find_images([path], label="color", labelled=True)
    assert str(caught.value) == (
        f"{path}: no column 'color' (found: image, colour, size). Did you mean 'colour'?"
    )
    words = table(tmp_path, [{"a": "x", "b": "y"}], "words.jsonl")
    with pytest.raises(InputError) as caught:
        find_images([words])
    assert str(caught.value) == (
        f"{words}: no column holds images or paths of images (found: a, b). "
        "Name it with --set images.column=COLUMN"
    )


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_images([tmp_path / "no"])
    with pytest.raises(InputError) as caught:
        find_images([tmp_path])
    assert str(caught.value) == (
        f"no image under {tmp_path} (looked for PNG, JPEG, WebP, BMP, GIF and TIFF files, "
        "and for tables with a column of images)."
    )


def test_an_unreadable_or_vanished_image_is_set_aside(tmp_path):
    path = write(tmp_path / "a.png")
    (picture,), _ = found(tmp_path)
    path.unlink()
    assert str(picture.read()) == (
        f"Q-DATA-033 {path}: the image cannot be read: No such file or directory. "
        "Check its permissions, or copy it again."
    )

"""Fifteen kinds of nasty folders of images (each made here), with the outcome each must have."""

import os
import struct
import threading
import warnings
import zlib

import pytest
from PIL import Image

from headstart.data import picture
from headstart.data.files import list_files
from headstart.data.image_check import check_images
from headstart.data.image_files import find_images
from headstart.data.image_kind import holds_images
from headstart.data.images import load_images, load_labelled_images
from headstart.errors import InputError
from pictures import GREEN, RED, corners, encoded, photo, png_chunk

GOOD = encoded(photo(7))
NOT_READ = "Convert it to PNG, JPEG, WebP, BMP, GIF or TIFF, or leave it out."


@pytest.fixture
def root(tmp_path):
    """Two classes with two good images each."""
    for number in range(4):
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encoded(photo(number)))
    return tmp_path / "photos"


def put(root, **files):
    """Files beside the good ones of a class; their name says the format."""
    for name, data in files.items():
        stem, _, kind = name.rpartition("_")
        (root / "cat" / f"{stem}.{kind}").write_bytes(data)


def checked(root, **options):
    """Counts (accepted, quarantined, rejected) and all messages; every record is counted."""
    report = check_images(root, **options)
    assert report.rows == report.accepted + report.quarantined + report.rejected
    messages = [str(one).replace(f"{root}/", "") for one in report.problems]
    messages = [one.replace(str(root), "ROOT") for one in messages]
    return (report.accepted, report.quarantined, report.rejected), messages


def test_01_cut_images_are_set_aside(root):
    put(root, a_jpg=encoded(photo(1), "JPEG")[:500], b_png=GOOD[:300])
    counts, messages = checked(root)
    assert counts == (4, 2, 0)
    fix = "Copy or download it again."
    assert messages == [
        f"Q-DATA-042 cat/a.jpg: the JPEG image is damaged or cut off (Truncated File Read). {fix}",
        "Q-DATA-042 cat/b.png: the PNG image is damaged or cut off (image file is truncated). "
        + fix,
    ]


def test_02_and_03_web_pages_and_empty_files_are_set_aside(root):
    put(root, a_jpg=b"<!DOCTYPE html><html>404", b_png=b"")
    assert checked(root) == (
        (4, 2, 0),
        [
            "Q-DATA-041 cat/a.jpg: not an image that can be read: it is a web page (a failed "
            f"download?). {NOT_READ}",
            "Q-DATA-040 cat/b.png: the image is empty (0 bytes). Copy it again.",
        ],
    )


def lying(kind, place, form, *size):
    """A good image whose header claims another size."""
    data = bytearray(encoded(photo(2), kind))
    place = data.index(place) + 5 if isinstance(place, bytes) else place
    data[place : place + struct.calcsize(form)] = struct.pack(form, *size)
    return bytes(data)


BOMBS = {
    "bmp": (lying("BMP", 18, "<ii", 50_000, 50_000), "50000 x 50000"),
    "gif": (lying("GIF", 6, "<HH", 60_000, 60_000), "60000 x 60000"),
    "jpg": (lying("JPEG", b"\xff\xc0", ">HH", 60_000, 60_001), "60001 x 60000"),
    "png": (
        GOOD[:8]
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))
        + GOOD[33:],
        "2147483647 x 2147483647",
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_04_a_header_that_lies_about_the_size_is_refused_before_memory_is_taken(root, kind):
    data, size = BOMBS[kind]
    put(root, **{f"bomb_{kind}": data})
    assert checked(root) == (
        (4, 0, 1),
        [
            f"E-DATA-043 cat/bomb.{kind}: the image has {size} pixels; at most 67108864 in all "
            "are read. Make it smaller."
        ],
    )


def test_04_large_images_are_decoded_one_at_a_time(root, monkeypatch):
    monkeypatch.setattr(picture, "LARGE", 100)
    at_once, most, lock = [0], [0], threading.Lock()
    convert = picture._to_rgb

    def counted(image):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        found = convert(image)
        threading.Event().wait(0.01)  # others may come meanwhile
        with lock:
            at_once[0] -= 1
        return found

    monkeypatch.setattr(picture, "_to_rgb", counted)
    load_images(root, side=8, threads=4)
    assert most[0] == 1
    monkeypatch.setattr(picture, "LARGE", 2**30)
    load_images(root, side=8, threads=4)
    assert most[0] > 1


def test_05_and_06_unusual_pixels_are_read_and_numbers_without_a_white_set_aside(root):
    put(root, cmyk_jpg=encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    put(root, grey_png=encoded(Image.new("I;16", (16, 16), 400)))
    put(root, float_tif=encoded(Image.new("F", (16, 16), 0.5), "TIFF"))
    put(root, long_tif=encoded(Image.new("I", (16, 16), 70_000), "TIFF"))
    fix = "numbers without a known white. Save it with 8 or 16 bits a channel."
    assert checked(root) == (
        (6, 2, 0),
        [
            f"Q-DATA-045 cat/float.tif: its pixels are F {fix}",
            f"Q-DATA-045 cat/long.tif: its pixels are I {fix}",
        ],
    )


def test_07_and_08_turned_images_and_broken_metadata_are_accepted_in_silence(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    put(root, turned_jpg=encoded(corners(), "JPEG", exif=exif))
    put(root, broken_jpg=encoded(photo(9), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own; the command line keeps them back
        assert checked(root) == ((6, 0, 0), [])


def test_09_of_several_frames_the_first_is_used_with_a_warning(root):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN)]
    put(root, a_gif=encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert checked(root) == (
        (5, 0, 0),
        [
            "W-DATA-051 ROOT: 1 images have several frames; the first is used, first cat/a.gif. "
            "Extract frames if more matter."
        ],
    )


def test_10_contents_decide_and_what_is_passed_over_is_counted(root):
    put(root, a_png=encoded(photo(3), "TIFF"), b_png=b"\0\0\0\x18ftypheic" + bytes(20))
    put(root, c_heic=b"x", d_svg=b"<svg/>")
    assert checked(root) == (
        (5, 1, 0),
        [
            f"Q-DATA-041 cat/b.png: not an image that can be read: it is a HEIC image. {NOT_READ}",
            "W-DATA-053 ROOT: 1 images hold another format than their name says, first cat/a.png. "
            "Nothing: contents decide.",
        ],
    )
    assert check_images(root).notes == (
        "photos: 6 images, 2 class folders; 2 other files passed over (1 .heic, 1 .svg)",
    )


def test_11_thin_and_tiny_images_are_accepted_with_a_warning(root):
    put(root, a_png=encoded(Image.new("RGB", (1, 50_000))))
    assert checked(root) == (
        (5, 0, 0),
        [
            "W-DATA-052 ROOT: 1 images are 20 or more times longer than wide, first cat/a.png. "
            "Cut them, or leave them out.",
            "W-DATA-052 ROOT: 1 images have less than 8 pixels a side, first cat/a.png. "
            "Leave them out if they show nothing.",
        ],
    )


def test_12_a_jpeg_with_a_flipped_bit_decodes_quietly_but_has_another_digest(root, tmp_path):
    data = bytearray(encoded(photo(5), "JPEG"))
    put(root, a_jpg=bytes(data))
    before = load_images(root, side=8)
    data[-200] ^= 1
    put(root, a_jpg=bytes(data))
    after = load_images(root, side=8)
    assert len(before) == len(after) == 5
    assert (before.digests != after.digests).any(1).sum() == 1


def test_13_odd_names_are_read_and_escaped_in_messages(root):
    names = ["-rf.png", "a b%20.png", "new\nline.png", "n" * 240 + ".png", "a\u202egnp.png"]
    for number, name in enumerate(names):
        (root / "cat" / name).write_bytes(encoded(photo(20 + number)))
    for name in (".ipynb_checkpoints/a.png", "cat/._a.png", "cat/Thumbs.db"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(GOOD)
    (root / "cat" / "\x1b[31mred\n.png").write_bytes(b"junk")
    (root / "cat" / os.fsdecode(b"\xff.png")).write_bytes(b"junk")
    counts, messages = checked(root)
    assert counts == (9, 2, 0)
    what = f'not an image that can be read: it is text ("junk"). {NOT_READ}'
    assert messages == [
        f"Q-DATA-041 cat/\\x1b[31mred\\x0a.png: {what}",
        f"Q-DATA-041 cat/\\udcff.png: {what}",
    ]


def test_14_what_a_task_would_stumble_over_is_told_by_a_check(root):
    (root / "empty").mkdir()
    (root / "Cat").mkdir()
    for name in ("Cat/1.png", "Cat/2.png", "loose.png"):
        (root / name).write_bytes(encoded(photo(len(name))))
    (root / "loose.png").write_bytes(encoded(photo(33)))
    (root / "Cat/2.png").write_bytes(encoded(photo(34)))
    (root / "damaged").mkdir()
    (root / "damaged" / "1.png").write_bytes(GOOD[:300])
    counts, messages = checked(root)
    assert counts == (7, 1, 0)
    assert messages == [
        "Q-DATA-042 damaged/1.png: the PNG image is damaged or cut off (image file is truncated). "
        "Copy or download it again.",
        "W-DATA-054 empty: the class folder holds no image, so there is no such class. Fill it, or "
        "remove it.",
        "W-DATA-054 cat: the class folders 'Cat' and 'cat' differ only in case. If they are one "
        "class, put their images in one folder.",
        "W-DATA-055 ROOT: 1 images have no class, first loose.png. Learning classes leaves them "
        "out: give each one, or remove it.",
    ]


def test_14_folders_of_splits_are_told_from_classes(root, tmp_path):
    place = tmp_path / "both"
    (place / "test").mkdir(parents=True)
    root.rename(place / "train")
    (place / "test" / "1.png").write_bytes(encoded(photo(50)))
    assert checked(place) == (
        (5, 0, 0),
        [
            "W-DATA-054 ROOT: its folders are splits (test, train), no classes. Check one of them, "
            "with the other as --test."
        ],
    )


def test_14_a_class_only_among_the_test_images_is_warned_of(root, tmp_path):
    test = tmp_path / "test"
    (test / "zebra").mkdir(parents=True)
    (test / "zebra" / "1.png").write_bytes(encoded(photo(60)))
    _, messages = checked(root, test=test)
    assert messages == [
        f'W-DATA-025 {test}: the class "zebra" is only among the test images. Add training images '
        "of this class, or correct its spelling."
    ]
    with pytest.raises(InputError) as caught:
        load_labelled_images(test, side=8, classes=["cat", "dog"])
    assert str(caught.value) == (
        f'E-DATA-017 {test}/zebra/1.png: "zebra" is not a known label (cat, dog). Fix the line, or '
        "add rows of this class to the training file."
    )


def test_14_a_folder_without_images_says_what_there_is(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x")
    (tmp_path / "b.tar").write_bytes(b"x")
    assert not holds_images([tmp_path])  # so it is taken for text
    with pytest.raises(InputError) as caught:
        list_files([tmp_path])
    assert str(caught.value) == (
        f"no data file under {tmp_path} (looked for .txt, .md, .csv, .tsv, .jsonl, .json, .ndjson, "
        ".parquet, also with .gz, and for images; found 2 .tar)."
    )
    with pytest.raises(InputError) as caught:
        find_images([tmp_path])
    assert str(caught.value) == (
        f"no image under {tmp_path} (looked for PNG, JPEG, WebP, BMP, GIF and TIFF files, and for "
        "tables with a column of images)."
    )


def test_15_links_and_pipes_are_not_followed_and_repeated_images_named(root, tmp_path):
    (tmp_path / "outside.png").write_bytes(GOOD)
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "out.png").symlink_to(tmp_path / "outside.png")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "dog" / "same.png").write_bytes((root / "cat" / "0.png").read_bytes())
    counts, messages = checked(root)
    assert counts == (5, 3, 0)
    fix = "so it is not opened. Put the image itself in its place."
    assert sorted(messages) == [
        f"Q-DATA-049 cat/loop: it is a link to a folder, {fix}",
        f"Q-DATA-049 cat/out.png: it is a link that leads out of its folder, {fix}",
        f"Q-DATA-049 cat/pipe.png: it is a broken link or no regular file, {fix}",
        "W-DATA-056 dog/same.png: the same image has the label 'dog' here and 'cat' in cat/0.png. "
        "Keep one.",
    ]
    with pytest.raises(InputError) as caught:
        find_images([root / "cat" / "pipe.png"])
    assert str(caught.value) == (
        f"{root}/cat/pipe.png is no regular file, so it is not opened. Put the data itself in its "
        "place."
    )
    with pytest.raises(InputError) as caught:
        find_images([""])
    assert str(caught.value) == (
        "one of the paths is empty. Name a file or a folder; the current one is a dot."
    )


@pytest.mark.parametrize("chunk", [b"zTXt", b"iCCP"])
def test_15_megabytes_of_text_or_profile_beside_the_pixels_are_refused(root, chunk):
    long = png_chunk(chunk, b"c\0\0" + zlib.compress(bytes(2 * 2**20)))
    put(root, a_png=GOOD[:33] + long + GOOD[33:])
    assert checked(root) == (
        (4, 0, 1),
        [
            "E-DATA-044 cat/a.png: the PNG image holds more text beside its pixels than is read. "
            "Save it without metadata."
        ],
    )

"""Fifteen kinds of nasty images with captions (each made here), with the outcome each must have."""

import base64
import io
import json
import tarfile

import pyarrow as pa
import pytest
from PIL import ExifTags, Image
from pyarrow import parquet

from headstart.data import picture
from headstart.data.image_check import check_images
from headstart.data.image_kind import holds_images
from headstart.data.pairs import load_pairs
from headstart.errors import InputError
from pictures import encoded, photo

IMAGES = [encoded(photo(number)) for number in range(6)]
CAPTIONS = [f"words about number {number}" for number in range(6)]


@pytest.fixture
def place(tmp_path):
    for number, data in enumerate(IMAGES):
        (tmp_path / f"{number}.png").write_bytes(data)
    return tmp_path


def table(place, changes=(), more=()):
    """Six good pairs with some cells changed, {row: {column: value}}, and further rows."""
    rows = [{"image": f"{n}.png", "caption": CAPTIONS[n]} for n in range(6)]
    for number, cells in dict(changes).items():
        rows[number].update(cells)
    path = place / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *more]))
    return path


def read(path):
    """Images, captions, records set aside, and all messages; every record is counted."""
    pairs = load_pairs(path, side=8)
    images = pairs.images
    messages = [str(one).replace(f"{path.parent}/", "") for one in pairs.problems]
    return pairs, (len(pairs), images.quarantined, images.rejected), messages


def checked(path):
    return [str(one).replace(f"{path.parent}/", "") for one in check_images(path).problems]


def test_01_a_caption_for_a_missing_image_is_set_aside(place):
    path = table(place, {3: {"image": "7.png"}})
    _, counts, messages = read(path)
    assert counts == (5, 1, 0)
    assert messages == [
        f'Q-DATA-047 pairs.jsonl:4 column "image": there is no file "7.png" in {place}. '
        'The most alike is "5.png". Add the image, or remove the row.'
    ]


def test_02_images_without_a_caption_are_set_aside_and_told_by_a_check(place):
    path = table(place, {0: {"caption": ""}, 1: {"caption": "  "}, 2: {"caption": []}})
    _, counts, messages = read(path)
    assert counts == (3, 3, 0)
    fix = "the image has no caption. Fill it in, or remove the row."
    assert messages == [f"Q-DATA-048 pairs.jsonl:{n + 1}: {n}.png: {fix}" for n in range(3)]
    assert checked(path) == [
        "W-DATA-048 pairs.jsonl: 3 images have no caption, first pairs.jsonl:1. Learning from "
        "captions leaves them out: fill them in, or remove the rows."
    ]


def test_04_and_07_captions_that_say_nothing_are_told_by_a_check_too(place):
    path = table(
        place,
        {0: {"caption": "IMG_1.jpg"}, 1: {"caption": "http://x.y/z"}, 2: {"caption": "null"}}
        | {3: {"caption": "<b>x</b> &amp; y"}},
    )
    told = [
        "W-DATA-057 pairs.jsonl: captions of 3 images are a file name, an address or a word like "
        "'image', first \"IMG_1.jpg\" in pairs.jsonl:1. Describe them.",
        'W-DATA-059 pairs.jsonl: captions of 1 images hold HTML, first "<b>x</b> &amp; y" in '
        "pairs.jsonl:4. Export plain text.",
    ]
    assert read(path)[2] == told
    assert checked(path) == told


def test_05_one_caption_on_many_images_is_warned_of(place):
    for number in range(6, 30):
        (place / f"{number}.png").write_bytes(encoded(photo(number)))
    more = [{"image": f"{n}.png", "caption": "stock photo"} for n in range(6, 30)]
    assert read(table(place, more=more))[2] == [
        'W-DATA-058 pairs.jsonl: the caption "stock photo" stands on 24 images. If it says nothing '
        "about them, leave it out."
    ]


def test_06_rows_that_repeat_an_image_are_its_further_captions_and_counted(place):
    path = table(place, more=[{"image": "0.png", "caption": "more"}, {"image": "0.png"}])
    pairs, counts, messages = read(path)
    assert counts == (6, 1, 0)
    assert (pairs.merged, pairs.images.captions[0]) == (1, (CAPTIONS[0], "more"))
    assert messages == [
        "Q-DATA-048 pairs.jsonl:8: 0.png: the image has no caption. Fill it in, or remove the row."
    ]


def test_09_and_10_paths_that_lead_out_or_are_misspelt_are_rejected_and_the_rest_is_read(place):
    names = ["../x.png", "/etc/passwd", "http://h/x.png", "1.PNG"]
    _, counts, messages = read(table(place, {n: {"image": name} for n, name in enumerate(names)}))
    assert counts == (2, 0, 4)
    row = 'pairs.jsonl:{} column "image":'
    assert messages == [
        f'E-DATA-046 {row.format(1)} "../x.png" leads out of the table\'s folder. Put the images '
        "below the table's folder.",
        f'E-DATA-046 {row.format(2)} "/etc/passwd" is an absolute path; paths are looked for '
        "beside the table. Write it relative to the table's folder.",
        f'E-DATA-046 {row.format(3)} "http://h/x.png" is an address, and nothing is ever fetched. '
        "Download the images, and write their paths beside the table.",
        f'E-DATA-047 {row.format(4)} there is no file "1.PNG", but there is "1.png". Write the '
        "path as the file is named.",
    ]


def test_11_archives_are_never_opened_and_named(tmp_path):
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("a.b.jpg", "../x.jpg", "a.pkl"):
            member = tarfile.TarInfo(name)
            member.size = len(IMAGES[0])
            archive.addfile(member, io.BytesIO(IMAGES[0]))
    for name in ("shard.tar", "shard.csv"):
        (tmp_path / name).write_bytes(path.read_bytes())
        with pytest.raises(InputError) as caught:
            holds_images([tmp_path / name], reads="images")
        assert str(caught.value) == (
            f"E-DATA-002 {tmp_path}/{name}: the file is a tar archive, not text. Export it as "
            "text, CSV, JSON lines or Parquet."
        )
    assert sorted(each.name for each in tmp_path.iterdir()) == ["shard.csv", "shard.tar"]


def spelled(data, way):
    plain = base64.b64encode(data).decode()
    return {
        "plain": plain,
        "address": f"data:image/png;base64,{plain}",
        "lines": "\n".join(plain[n : n + 76] for n in range(0, len(plain), 76)),
        "url-safe": base64.urlsafe_b64encode(data).decode(),
        "unpadded": plain.rstrip("="),
    }[way]


@pytest.mark.parametrize("way", ["plain", "address", "lines", "url-safe", "unpadded"])
def test_12_images_in_base64_are_images_and_not_text(tmp_path, way):
    path = table(tmp_path, {n: {"image": spelled(data, way)} for n, data in enumerate(IMAGES)})
    assert holds_images([path])
    pairs, counts, messages = read(path)
    assert (counts, messages) == ((6, 0, 0), [])
    (tmp_path / "files").mkdir()
    for number, data in enumerate(IMAGES):
        (tmp_path / "files" / f"{number}.png").write_bytes(data)
    assert (pairs.images.digests == read(table(tmp_path / "files"))[0].images.digests).all()


def test_12_base64_that_is_cut_or_too_large_is_set_aside_by_row(tmp_path, monkeypatch):
    cells = {n: {"image": spelled(data, "address")} for n, data in enumerate(IMAGES)}
    cells[0]["image"] = cells[0]["image"][:-3].replace("=", "") + "!"
    path = table(tmp_path, cells)
    _, counts, messages = read(path)
    assert counts == (5, 1, 0)
    assert len(messages) == 1
    assert messages[0].startswith('Q-DATA-060 pairs.jsonl:1 column "image": ')
    assert messages[0].endswith(
        "the image is no valid base64: it was cut off, or holds other characters. Write it anew, "
        "or give a file."
    )
    monkeypatch.setattr(picture, "MOST_BYTES", 10)
    with pytest.raises(InputError, match=r"E-DATA-044 .*at most 10 are read. Make it smaller\."):
        read(path)


def test_13_addresses_in_captions_and_places_in_images_are_counted(place):
    exif = Image.Exif()
    at = {ExifTags.GPS.GPSLatitude: (52.0, 31.0, 12.0)}
    at[ExifTags.GPS.GPSLongitude] = (13.0, 24.0, 18.0)
    exif[ExifTags.IFD.GPSInfo] = at
    (place / "2.png").write_bytes(encoded(photo(2), "PNG", exif=exif))
    path = table(place, {1: {"caption": "by ann@b.org"}, 4: {"caption": "call 212-555-0100"}})
    warnings = [
        "W-DATA-062 pairs.jsonl: 1 images say in their EXIF block where they were taken, first "
        "pairs.jsonl:3. No model learns it, but whoever gets the files does: remove the block.",
        "W-DATA-061 pairs.jsonl: 2 images have captions that hold what looks like personal data: "
        "e-mail addresses (1), phone numbers (1); the first in pairs.jsonl:2. A model can repeat "
        "what it has read: mask them before others get the model.",
    ]
    _, counts, messages = read(path)
    assert counts == (6, 0, 0)
    assert messages == warnings
    assert checked(path) == warnings


def test_14_marks_of_models_in_captions_are_plain_text(place):
    words = "שלום [MASK] <|endoftext|> <image>"
    pairs, counts, _ = read(table(place, {0: {"caption": words}, 1: {"caption": "\ud800 x"}}))
    assert counts == (5, 1, 0)
    assert pairs.images.captions[0] == (words,)


def cells(data):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array(data, type=kind)


def test_15_null_bytes_local_paths_and_huge_images_in_parquet_are_told_by_row(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(picture, "MOST_BYTES", 1 + max(map(len, IMAGES)))
    good = [{"bytes": data, "path": None} for data in IMAGES]
    bad = [
        {"bytes": None, "path": "/etc/passwd"},
        {"bytes": None, "path": "../a.png"},
        None,
        {"bytes": b"", "path": None},
        {"bytes": bytes(picture.MOST_BYTES + 1), "path": None},
    ]
    path = tmp_path / "pairs.parquet"
    captions = [f"caption {n}" for n in range(11)]
    parquet.write_table(pa.table({"image": cells([*good, *bad]), "caption": captions}), path)
    _, counts, messages = read(path)
    assert counts == (6, 2, 3)
    assert messages == [
        'E-DATA-046 pairs.parquet:7 column "image": "/etc/passwd" is an absolute path; paths are '
        "looked for beside the table. Write it relative to the table's folder.",
        'E-DATA-046 pairs.parquet:8 column "image": "../a.png" leads out of the table\'s folder. '
        "Put the images below the table's folder.",
        'Q-DATA-040 pairs.parquet:9 column "image": there is no image. Fill it in, or remove the '
        "row.",
        "Q-DATA-040 pairs.parquet:10: the image is empty (0 bytes). Copy it again.",
        f"E-DATA-044 pairs.parquet:11: the image has {picture.MOST_BYTES + 1} bytes; at most "
        f"{picture.MOST_BYTES} are read. Make it smaller.",
    ]


def test_15_a_damaged_file_is_named_and_bytes_that_are_not_read_are_told(tmp_path):
    path = tmp_path / "pairs.parquet"
    parquet.write_table(pa.table({"a": IMAGES, "b": IMAGES, "caption": CAPTIONS}), path)
    told = []
    assert not holds_images([path], note=told.append)
    assert told == [
        "pairs.parquet: the bytes in 'a', 'b' are not read (--set images.column=COLUMN reads "
        "images)"
    ]
    told.clear()
    assert holds_images([path], image="b", note=told.append)
    assert told == [
        "pairs.parquet: the bytes in 'a' are not read (--set images.column=COLUMN reads images)"
    ]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as caught:
        holds_images([path], reads="images")
    message = str(caught.value)
    assert message.startswith(f"E-DATA-033 {path}: the file cannot be read: Parquet magic bytes ")
    assert message.endswith("Check its permissions, or copy it again.")

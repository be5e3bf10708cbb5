import json

import pytest

from headstart.data.pairs import load_pairs
from headstart.errors import InputError
from pictures import encoded, photo
from real_data import data_dir


def table(folder, rows, images=3):
    for number in range(images):
        (folder / f"{number}.png").write_bytes(encoded(photo(number)))
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_of_one_image_become_one_image_with_all_its_captions(tmp_path):
    rows = [
        {"image": "0.png", "caption": "a hill"},
        {"image": "1.png", "caption": ["the sea", "海"]},
        {"image": "0.png", "caption": "<image> by night"},
        {"image": "0.png", "caption": "a hill"},
    ]
    path = table(tmp_path, rows)
    found = load_pairs(path, side=8)
    assert found.images.captions == (("a hill", "<image> by night"), ("the sea", "海"))
    assert found.images.pixels.shape == (2, 3, 8, 8)
    assert found.merged == 2
    assert found.note == (
        "pairs.jsonl: 4 rows, images 'image', captions 'caption': 2 images with 4 captions "
        "(2 rows repeat an image)"
    )


def test_an_image_without_a_caption_and_a_caption_without_an_image_are_set_aside(tmp_path):
    rows = [
        {"image": "0.png", "caption": " "},
        {"image": "9.png", "caption": "lost"},
        {"image": "1.png", "caption": "there"},
    ]
    path = table(tmp_path, rows)
    found = load_pairs(path, side=8)
    assert found.images.captions == (("there",),)
    assert found.images.quarantined == 2
    assert [str(one).split(": ", 1)[0] for one in found.problems] == [
        f"Q-DATA-048 {path}:1",
        f'Q-DATA-047 {path}:2 column "image"',
    ]
    with pytest.raises(InputError, match="the image has no caption"):
        load_pairs(table(tmp_path, rows[:1]), side=8)


def test_captions_that_say_nothing_are_remarked_on_once_a_kind(tmp_path):
    texts = ["IMG_1.jpg", "https://x.y/z", "image", "<b>big</b> &amp; red", "fine"] + ["same"] * 25
    rows = [{"image": f"{n}.png", "caption": text} for n, text in enumerate(texts)]
    path = table(tmp_path, rows, images=len(texts))
    assert [str(one) for one in load_pairs(path, side=8).problems] == [
        f"W-DATA-057 {path}: captions of 3 images are a file name, an address or a word like "
        f"'image', first \"IMG_1.jpg\" in {path}:1. Describe them.",
        f'W-DATA-059 {path}: captions of 1 images hold HTML, first "<b>big</b> &amp; red" in '
        f"{path}:4. Export plain text.",
        f'W-DATA-058 {path}: the caption "same" stands on 25 images. '
        "If it says nothing about them, leave it out.",
    ]


def test_real_pairs_are_read_with_their_captions():
    products = load_pairs(data_dir("fashion_products") / "validation.parquet", side=32)
    assert len(products) + products.merged == 600
    emoji = load_pairs(
        data_dir("emoji_captions") / "validation.parquet", side=32, caption="caption_zh"
    )
    assert any("\u4e00" <= text[0] <= "\u9fff" for texts in emoji.images.captions for text in texts)

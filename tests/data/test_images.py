import numpy as np
import pytest
from PIL import Image

from headstart.data import picture
from headstart.data.decoding import decode_all
from headstart.data.image_check import check_images
from headstart.data.image_files import Picture
from headstart.data.images import load_images, load_labelled_images
from headstart.data.record import Problem
from headstart.errors import InputError
from pictures import corners, encoded, photo
from real_data import data_dir


def folder(root, **classes):
    for name, images in classes.items():
        (root / name).mkdir(parents=True)
        for number, image in enumerate(images):
            data = image if isinstance(image, bytes) else encoded(image)
            (root / name / f"{number}.png").write_bytes(data)
    return root


def test_a_class_folder_becomes_pixels_and_labels(tmp_path):
    root = folder(tmp_path / "set", cat=[photo(0), photo(1)], 狗=[photo(2)])
    found = load_labelled_images(root, side=16)
    assert found.images.pixels.shape == (3, 3, 16, 16)
    assert found.labels.tolist() == [0, 0, 1]
    assert found.classes == ("cat", "狗")
    assert found.note == "set: 3 images, 2 class folders: classes (2), 3 images"
    expected = np.asarray(photo(2).resize((16, 16), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(found.images.pixels[2], expected)


def test_bad_images_are_counted_named_and_never_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "MOST_PIXELS", 10_000)
    good = encoded(photo())
    root = folder(
        tmp_path / "set",
        a=[good, good[: len(good) // 2], b"", b"<html>"],
        b=[encoded(photo(1)), encoded(Image.new("1", (200, 200)))],
    )
    (root / "loose.png").write_bytes(good)
    found = load_labelled_images(root, side=8)
    images = found.images
    assert (len(images), images.quarantined, images.rejected, images.rows) == (2, 4, 1, 7)
    assert [str(problem) for problem in images.problems] == [
        f"Q-DATA-042 {root}/a/1.png: the PNG image is damaged or cut off "
        "(image file is truncated). Copy or download it again.",
        f"Q-DATA-040 {root}/a/2.png: the image is empty (0 bytes). Copy it again.",
        f"Q-DATA-041 {root}/a/3.png: not an image that can be read: it is a web page "
        "(a failed download?). Convert it to PNG, JPEG, WebP, BMP, GIF or TIFF, or leave it out.",
        f"E-DATA-043 {root}/b/1.png: the image has 200 x 200 pixels; at most 10000 in all are "
        "read. Make it smaller.",
        f"Q-DATA-055 {root}/loose.png: the image lies beside the class folders, so it has no "
        "class. Move it into the folder of its class.",
    ]
    with pytest.raises(InputError, match="E-DATA-043"):
        load_images(root, side=8, bad_rows="stop")


def test_if_no_image_can_be_used_the_reasons_are_given(tmp_path):
    root = folder(tmp_path / "set", a=[b"", b"<html>"])
    for place in (None, tmp_path / "store"):
        with pytest.raises(InputError) as caught:
            load_images(root, side=8, place=place)
        assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == [
            "Q-DATA-040",
            "Q-DATA-041",
        ]
    assert not (tmp_path / "store").exists()


def test_oddities_are_remarked_on_once_a_kind(tmp_path):
    moving = encoded(corners(), "GIF", save_all=True, append_images=[photo()])
    root = folder(tmp_path / "set", a=[moving, moving, photo()], b=[Image.new("RGB", (3, 90))])
    found = load_images(root, side=8)
    assert [str(problem) for problem in found.problems] == [
        f"W-DATA-051 {root}: 2 images have several frames; the first is used, "
        f"first {root}/a/0.png. Extract frames if more matter.",
        f"W-DATA-053 {root}: 2 images hold another format than their name says, "
        f"first {root}/a/0.png. Nothing: contents decide.",
        f"W-DATA-052 {root}: 1 images are 20 or more times longer than wide, "
        f"first {root}/b/0.png. Cut them, or leave them out.",
        f"W-DATA-052 {root}: 1 images have less than 8 pixels a side, "
        f"first {root}/b/0.png. Leave them out if they show nothing.",
    ]
    assert len(found) == 4


def test_the_same_image_under_two_labels_is_remarked_on(tmp_path):
    root = folder(tmp_path / "set", a=[photo(0), photo(1)], b=[photo(2), photo(1)])
    found = load_labelled_images(root, side=8)
    assert [str(problem) for problem in found.problems] == [
        f"W-DATA-056 {root}/b/1.png: the same image has the label 'b' here and 'a' in "
        f"{root}/a/1.png. Keep one."
    ]


def test_no_value_among_the_numbers_of_images_is_remarked_on(tmp_path):
    rows = ["image,score"]
    for n, score in enumerate(["0.5", "NA", "1.5", "2.5"]):
        (tmp_path / f"{n}.png").write_bytes(encoded(photo(n)))
        rows.append(f"{n}.png,{score}")
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(rows))
    found = load_labelled_images(path, side=8)
    assert found.kind == "classes"
    assert [str(problem) for problem in found.problems] == [
        f'W-DATA-063 {path}: 1 labels say that there is none ("NA") among numbers, so all are '
        f"taken for classes: rows {path}:3. Leave these cells empty: the rows are set aside, and "
        "the labels are numbers."
    ]
    assert check_images(path).problems == found.problems
    path.write_text("\n".join(rows).replace("NA", ""))
    assert load_labelled_images(path, side=8).kind == "number"


def test_a_store_and_memory_hold_the_same_and_any_number_of_threads_gives_it(tmp_path):
    root = folder(tmp_path / "set", a=[photo(n) for n in range(20)], b=[photo(n) for n in (30, 31)])
    seen = []
    held = load_images(root, side=12, threads=1)
    kept = load_images(
        root, side=12, threads=3, place=tmp_path / "store", progress=lambda *at: seen.append(at)
    )
    assert np.array_equal(held.pixels, kept.pixels)
    assert np.array_equal(held.digests, kept.digests)
    assert held.origins == kept.origins == tuple(kept.store.origins())
    assert held.labels == kept.labels
    assert seen[-1] == (22, 22)


def test_labels_of_a_test_set_must_be_known(tmp_path):
    root = folder(tmp_path / "set", cat=[photo(0)], cow=[photo(1)])
    with pytest.raises(InputError) as caught:
        load_labelled_images(root, side=8, classes=["cat", "dog"])
    assert str(caught.value) == (
        f'E-DATA-017 {root}/cow/0.png: "cow" is not a known label (cat, dog). '
        "Fix the line, or add rows of this class to the training file."
    )


def test_order_is_kept_and_problems_stay_in_their_place():
    good = [Picture("t", n, data=encoded(photo(n))) for n in range(9)]
    items = [*good[:4], Picture("t", 4, data=b""), *good[4:]]
    found = list(decode_all(items, side=8, threads=3))
    assert [isinstance(item, Problem) for item in found] == [n == 4 for n in range(10)]
    numbers = [item.picture.line for item in found if not isinstance(item, Problem)]
    assert numbers == list(range(9))


def test_cifar_is_read_from_parquet():
    found = load_labelled_images(data_dir("cifar10") / "test.parquet", side=32)
    assert len(found) == 4000
    assert found.images.quarantined == found.images.rejected == 0
    assert np.bincount(found.labels).tolist() == [400] * 10
    assert 110 < found.images.pixels[:500].mean() < 130


def test_grey_and_transparent_real_images_are_read():
    grey = load_images(data_dir("tiny_imagenet") / "validation.parquet", side=64)
    alike = (grey.pixels[:, 0] == grey.pixels[:, 1]).all((1, 2)).sum()
    assert len(grey) == 1000
    assert 0 < alike < 50
    emoji = load_images(data_dir("emoji_captions") / "validation.parquet", side=64)
    assert len(emoji) == 190
    assert (emoji.pixels[:, :, 0, 0] == 255).all(1).mean() > 0.8  # corners are clear, now white
    assert all(emoji.captions)

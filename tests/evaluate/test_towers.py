import sys

import numpy as np
import pytest

from headstart.data.text import train_tokenizer
from headstart.errors import InputError
from headstart.evaluate.towers import Towers, has_towers
from headstart.evaluate.zero_shot import class_vectors, sentences
from headstart.families import bert, clip, make_head, save_model
from headstart.nn import Patches
from images import FRAME, PATCH, SIDE, random_pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder of random towers."""
    texts = ["a photo of a red shoe", "一张鞋的照片", "the image of an ankle boot"]
    tokenizer = train_tokenizer(texts, kind="bpe", vocab_size=300, style="clip")
    model = clip.build(
        num_layers=1,
        hidden_size=16,
        num_heads=2,
        vocab_size=tokenizer.get_vocab_size(),
        max_positions=30,
        patches=Patches(image_size=SIDE, patch_size=PATCH),
    )
    place = tmp_path_factory.mktemp("towers") / "model"
    heads = {"pair": make_head(model, "pair")}
    return save_model(model, heads, place, tokenizer=tokenizer, pixels=FRAME.scale)


def test_vectors_do_not_depend_on_what_is_asked_beside_them(folder, monkeypatch):
    towers = Towers.open(folder)
    texts = ["a red shoe", "", "boot", "the image of an ankle boot", "鞋"]
    pixels = random_pixels(5)
    together = towers.texts(texts), towers.images(pixels)
    monkeypatch.setattr(sys.modules[Towers.__module__], "TEXTS_AT_ONCE", 2)
    monkeypatch.setattr(sys.modules[Towers.__module__], "IMAGES_AT_ONCE", 2)
    apart = towers.texts(texts), towers.images(pixels)
    for one, other in zip(together, apart, strict=True):
        assert one.shape == (5, 16)
        assert np.abs(one - other).max() < 1e-5
        assert np.allclose(np.linalg.norm(one, axis=1), 1)
        assert np.abs(one[0] - one[1]).max() > 1e-3


def test_a_text_that_is_too_long_is_cut(folder):
    towers = Towers.open(folder)
    long = "boot" * 100
    found = towers.texts([long, long + " red", "red"])
    assert np.abs(found[0] - found[1]).max() < 1e-5
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_a_class_is_the_mean_of_sentences_in_the_language_of_its_name(folder):
    assert sentences("ankle_boot")[:3] == ["ankle boot", "a ankle boot", "a photo of a ankle boot"]
    assert sentences("鞋") == ["鞋", "一张鞋的照片", "鞋的图片", "这是鞋"]
    towers = Towers.open(folder)
    found = class_vectors(towers, ["shoe", "鞋"])
    for name, vector in zip(["shoe", "鞋"], found, strict=True):
        mean = towers.texts(sentences(name)).mean(0)
        assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_model_of_one_tower_is_refused(folder, tmp_path):
    assert has_towers(folder)
    assert not has_towers(tmp_path)
    model = bert.build(num_layers=1, hidden_size=8, num_heads=1, vocab_size=9)
    save_model(model, {}, tmp_path / "bert")
    assert not has_towers(tmp_path / "bert")
    with pytest.raises(InputError) as caught:
        Towers.open(tmp_path / "bert")
    assert str(caught.value) == (
        f"{tmp_path / 'bert'} holds a model of family bert (encoder), but two towers are needed, "
        "of images and of texts"
    )

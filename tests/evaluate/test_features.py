"""Frozen features."""

import numpy as np
import pytest
import torch

from headstart.errors import InputError
from headstart.evaluate.features import FeatureCache, extract
from layouts import padded
from small_tasks import as_sequences, labelled, small_start


@pytest.fixture(scope="module")
def start():
    return small_start("bert")


def test_a_short_texts_features_are_the_mean_of_its_last_states(start):
    text = np.array([7, 8, 9, 11])
    got = extract(start.model, as_sequences([text]), start.frame, precision="fp32")
    framed = padded(as_sequences([np.concatenate([[2], text, [3]])]))
    with torch.no_grad():
        expected = start.model.encode(framed).mean(0)
    np.testing.assert_allclose(got[0], expected, atol=1e-6)


def test_results_come_in_the_order_of_the_texts_whatever_the_batches(start):
    texts = labelled(30, longest=40).inputs
    whole = extract(start.model, texts, start.frame, max_length=16, precision="fp32")
    small = extract(
        start.model, texts, start.frame, max_length=16, precision="fp32", tokens_per_batch=40
    )
    order = np.random.default_rng(0).permutation(30)
    mixed = extract(start.model, texts.take(order), start.frame, max_length=16, precision="fp32")
    np.testing.assert_allclose(whole, small, atol=1e-5)
    np.testing.assert_allclose(whole[order], mixed, atol=1e-5)
    assert np.abs(whole - mixed).max() > 0.01


def test_a_long_texts_features_are_the_mean_of_its_windows_weighted_by_length(start):
    text = np.random.default_rng(0).integers(5, 40, 13)
    pieces = as_sequences([text[:6], text[6:]])
    long = extract(start.model, as_sequences([text]), start.frame, max_length=9, precision="fp32")
    each = extract(start.model, pieces, start.frame, max_length=9, precision="fp32")
    np.testing.assert_allclose(long[0], (8 * each[0] + 9 * each[1]) / 17, atol=1e-6)


def test_several_layers_stand_side_by_side(start):
    texts = labelled(4).inputs
    several = extract(start.model, texts, start.frame, layers="several", precision="fp32")
    assert several.shape == (4, 48)
    # each part is of its own layer, and none is the same as another
    parts = several.reshape(4, 3, 16)
    assert min(np.abs(parts[:, i] - parts[:, j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-3


def test_a_cache_computes_each_text_once_and_gives_the_same(start, monkeypatch):
    texts = labelled(12).inputs
    cache = FeatureCache(start.model, start.frame, precision="fp32")
    first = cache.of(texts)
    calls = []
    monkeypatch.setattr(cache.model, "encode", calls.append)
    again = cache.of(texts.take(np.array([5, 3, 5])))
    assert not calls
    np.testing.assert_array_equal(again, first[[5, 3, 5]])
    assert cache.read == 12
    assert cache.spared == pytest.approx(3 * cache.seconds / 12)


def test_the_model_is_left_as_it_was(start):
    before = {name: weight.clone() for name, weight in start.model.state_dict().items()}
    start.model.train()
    extract(start.model, labelled(5).inputs, start.frame, precision="bf16")
    assert start.model.training
    start.model.eval()
    for name, weight in start.model.state_dict().items():
        assert torch.equal(weight, before[name])
        assert weight.dtype == torch.float32


def test_bf16_features_are_near_those_of_fp32(start):
    texts = labelled(10).inputs
    exact = extract(start.model, texts, start.frame, precision="fp32")
    fast = extract(start.model, texts, start.frame, precision="bf16")
    assert 0 < np.abs(exact - fast).max() < 0.05


def test_a_window_without_room_for_text_is_refused(start):
    with pytest.raises(InputError) as caught:
        extract(start.model, labelled(2).inputs, start.frame, max_length=2)
    assert str(caught.value) == (
        "max_length 2 leaves no room for text beside 2 special tokens: set it to at least 8"
    )

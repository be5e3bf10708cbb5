"""A probe on images chooses its layer inside the labels; what it chose is a model of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headstart.evaluate.features import FeatureCache
from headstart.evaluate.fitted import Start, load_fitted
from headstart.evaluate.transfer import (
    Choice,
    TransferSettings,
    candidates,
    choose,
    depths,
    feature_cache,
    more_passes,
    transfer,
)
from headstart.families import vit
from headstart.nn import Patches
from headstart.tasks import LabelledTokens
from images import FRAME, PATCH, SIDE, image_sequences
from small_tasks import small_start

FAST = TransferSettings(precision="fp32", device="cpu", threads=1, min_steps=5, epochs=1)


def stripes(count=60, *, seed=0) -> LabelledTokens:
    """Two classes: bright above or bright below, on noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.integers(0, 120, (count, 3, SIDE, SIDE), dtype=np.uint8)
    half = SIDE // 2
    for image, label in zip(pixels, labels, strict=True):
        image[:, half * label : half * (label + 1)] += 130
    return LabelledTokens(image_sequences(pixels), labels.astype(np.int64), "classes", ("a", "b"))


def start(*, spoilt=False) -> Start:
    """Four blocks; spoilt: the last one drowns every state in one direction."""
    model = vit.build(
        num_layers=4,
        hidden_size=32,
        num_heads=2,
        patches=Patches(image_size=SIDE, patch_size=PATCH),
        seed=0,
    )
    if spoilt:
        with torch.no_grad():
            model.stack.blocks[-1].mlp.down.bias.copy_(1e6 * torch.randn(32))
    return Start(model.eval(), FRAME)


def test_only_probes_of_images_have_a_choice_of_layers():
    data, begin = stripes(), start()
    assert depths(begin, FAST) == [0, 3, 2]
    assert depths(begin, replace(FAST, head="family")) == [0]
    names = [one.name for one in candidates(begin, data, "probe", FAST)]
    assert names == ["probe", "probe (3 blocks)", "probe (2 blocks)"]
    assert [one.method for one in candidates(begin, data, "auto", FAST)] == ["probe"] * 3 + ["full"]
    assert len(candidates(begin, data, "full", FAST)) == 1


def test_a_probe_leaves_out_a_last_block_that_spoils_the_states(tmp_path):
    data, begin = stripes(), start(spoilt=True)
    choice = choose(begin, data, candidates(begin, data, "probe", FAST), seed=0)
    assert choice.candidate.settings.depth in (2, 3)
    assert choice.scores["probe"] < max(choice.scores.values())
    fitted = transfer(begin, data, "probe", settings=FAST, choice=choice)
    layers = choice.candidate.settings.depth
    assert fitted.model.config.num_layers == layers
    assert fitted.settings["depth"] == layers
    test = stripes(80, seed=1)
    assert (fitted.answers(test.inputs) == test.labels).mean() > 0.75
    fitted.save(tmp_path / "m", tokenizer=None)
    back = load_fitted(tmp_path / "m", None, precision="fp32")
    assert back.model.config.num_layers == layers
    np.testing.assert_allclose(
        back.predict(test.inputs), fitted.predict(test.inputs), rtol=1e-4, atol=1e-4
    )


def test_features_through_fewer_blocks_are_those_of_the_cut_model_and_kept():
    data, begin = stripes(6), start()
    cache = feature_cache(begin, FAST)
    inner = cache.through(2)
    assert cache.through(2) is inner
    assert cache.through(0) is cache
    assert cache.through(4) is cache
    chosen = Choice(candidates(begin, data, "probe", replace(FAST, depth=2))[2], {}, 0.0)
    cut = transfer(begin, data, "probe", settings=FAST, choice=chosen).model
    own = FeatureCache(cut, FRAME, precision="fp32").of(data.inputs)
    np.testing.assert_allclose(inner.of(data.inputs), own, atol=1e-6)
    assert np.abs(inner.of(data.inputs) - cache.of(data.inputs)).max() > 1e-3


@pytest.mark.parametrize("head", ["mean", "family"])
def test_step_zero_of_fine_tuning_answers_as_the_probe_does(head):
    data, begin = stripes(), start()
    settings = replace(FAST, head=head, head_scale=1.0, lr=1e-9)
    only = Choice(candidates(begin, data, "probe", settings)[0], {}, 0.0)
    probe = transfer(begin, data, "probe", settings=settings, choice=only)
    tuned = transfer(begin, data, "full", settings=settings)
    np.testing.assert_allclose(
        tuned.predict(data.inputs), probe.predict(data.inputs), rtol=1e-3, atol=1e-3
    )


def test_fresh_weights_on_few_images_are_also_tried_with_more_steps():
    fresh, text = replace(start(), pretrained=False), small_start()
    settings = replace(FAST, min_steps=4, max_steps=30, epochs=2)
    assert (more_passes(fresh, settings).epochs, more_passes(fresh, settings).min_steps) == (6, 12)
    assert (more_passes(text, settings).epochs, more_passes(text, settings).min_steps) == (6, 4)
    data = stripes(16)
    tried = choose(fresh, data, candidates(fresh, data, "full", settings), seed=0)
    assert len(tried.scores) == 3
    longest = [name for name in tried.scores if "6 epochs" in name]
    assert len(longest) == 1


def test_an_image_that_was_read_before_is_not_read_again():
    data, begin = stripes(8), start()
    cache = feature_cache(begin, FAST)
    first = cache.of(data.inputs)
    cache.model.stack.norm.weight.data.zero_()
    np.testing.assert_array_equal(cache.of(data.inputs.take(np.array([3, 1]))), first[[3, 1]])
    other = stripes(8, seed=5)
    assert np.abs(cache.of(other.inputs)).max() < 1e-6

from dataclasses import replace

import numpy as np
import pytest
import torch

from headstart.data.patches import PixelFrame, cut
from headstart.errors import InputError
from headstart.families import vit
from headstart.families.style import PatchDecoder
from headstart.nn import Patches
from headstart.objectives import MaskedLanguage, Pretraining
from headstart.objectives.image_objective import ImagePretraining
from headstart.objectives.masked_image import (
    MaskedAutoencoder,
    SimpleMaskedImage,
    hidden_squares,
    normalised,
    split_patches,
)
from images import FRAME, PATCH, SIDE, image_sequences, random_pixels

SMALL = PatchDecoder(
    hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, normalised=True
)
IMAGES = random_pixels(4)
PATCHES = 16


def tiny(seed=0):
    return vit.build(
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        patches=Patches(image_size=SIDE, patch_size=PATCH),
        seed=seed,
    )


def objective(name):
    part = MaskedAutoencoder(SMALL) if name == "mae" else SimpleMaskedImage(rate=0.5)
    return ImagePretraining([part], FRAME)


def prepared(name, pixels=IMAGES, seed=0):
    return objective(name).prepare(image_sequences(pixels), np.random.default_rng(seed))


def test_three_quarters_of_the_patches_are_hidden_those_with_the_most_noise():
    noise = np.array([[0.9, 0.1, 0.5, 0.3, 0.8, 0.2, 0.7, 0.6]])
    kept, hidden = split_patches(noise, rate=0.75)
    assert kept.tolist() == [[1, 5]]
    assert hidden.tolist() == [[0, 2, 3, 4, 6, 7]]
    assert split_patches(noise, rate=0.99)[0].tolist() == [[1]]  # never all


def test_every_patch_is_hidden_equally_often():
    noise = np.random.default_rng(0).random((4000, PATCHES))
    hidden = split_patches(noise, rate=0.75)[1]
    times = np.bincount(hidden.ravel())
    # 3,000 of 4,000 each: a standard deviation is 27
    assert np.abs(times - 3000).max() < 140


def test_squares_of_patches_are_hidden_together():
    noise = np.array([[0.4, 0.1, 0.2, 0.3]])
    shown = hidden_squares(noise, grid=4, unit=2, rate=0.3).reshape(4, 4).astype(int)
    assert shown.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    cut_off = hidden_squares(np.array([[0.4, 0.1, 0.2, 0.3]]), grid=3, unit=2, rate=0.25)
    assert cut_off.reshape(3, 3).astype(int).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_mae_shows_the_kept_patches_and_asks_for_the_others():
    batch = prepared("mae")
    stream = batch.inputs["pixels"].view(4, 5, -1)
    layout = batch.layout["tokens"]
    places = layout.positions.view(4, 5)
    patches = cut(FRAME.scale.apply(IMAGES), PATCH)
    slots = batch.targets["mae.slots"].view(4, 12)
    wanted = batch.targets["mae.pixels"].view(4, 12, -1)
    for image in range(4):
        kept = places[image, 1:] - 1
        hidden = slots[image] - 17 * image - 1
        assert sorted([*kept.tolist(), *hidden.tolist()]) == list(range(16))
        assert torch.equal(stream[image, 1:], torch.from_numpy(patches[image, kept.numpy()]))
        for target, patch in zip(wanted[image], hidden.tolist(), strict=True):
            # row before column before channel, mean 0 and variance 1
            own = patches[image, patch].reshape(3, PATCH, PATCH).transpose(1, 2, 0).ravel()
            own = (own - own.mean()) / np.sqrt(own.var(ddof=1) + 1e-6)
            assert np.allclose(target.numpy(), own, atol=1e-5)


@pytest.mark.parametrize("name", ["mae", "simmim"])
def test_preparing_is_a_pure_function(name):
    one, two, other = prepared(name), prepared(name), prepared(name, seed=1)
    for key in one.targets:
        assert torch.equal(one.targets[key], two.targets[key])
    assert not torch.equal(one.targets[f"{name}.slots"], other.targets[f"{name}.slots"])


@pytest.mark.parametrize("name", ["mae", "simmim"])
def test_the_network_sees_nothing_of_what_it_must_predict(name):
    made = objective(name)
    model = tiny().eval()
    heads = made.heads(model).eval()
    with torch.no_grad():
        for weight in heads.parameters():
            weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    batch = prepared(name)
    before = model_output(made, model, heads, batch)
    changed = IMAGES.copy()
    slots = batch.targets[f"{name}.slots"].numpy()
    image, patch = slots[3] // 17, slots[3] % 17 - 1
    row, column = divmod(int(patch), SIDE // PATCH)
    there = (slice(row * PATCH, (row + 1) * PATCH), slice(column * PATCH, (column + 1) * PATCH))
    changed[(image, slice(None), *there)] ^= 255
    again = prepared(name, changed)
    assert not torch.equal(again.targets[f"{name}.pixels"], batch.targets[f"{name}.pixels"])
    assert torch.equal(model_output(made, model, heads, again), before)
    # a control: a change in a patch that is shown does show
    shown = next(n for n in range(1, 17) if n + 17 * image not in slots)
    row, column = divmod(shown - 1, SIDE // PATCH)
    changed[image, :, row * PATCH, column * PATCH] ^= 255
    assert not torch.equal(model_output(made, model, heads, prepared(name, changed)), before)


@torch.no_grad()
def model_output(made, model, heads, batch):
    """Everything that the loss is computed from, but the targets."""
    seen, name = {**batch.targets}, made.name
    seen[f"{name}.pixels"] = torch.zeros_like(batch.targets[f"{name}.pixels"])
    return made.loss(model, heads, replace(batch, targets=seen)).value


def test_even_patches_have_no_variance_and_become_zero():
    assert normalised(np.full((1, 12), 7.0, dtype=np.float32)).tolist() == [[0.0] * 12]


@pytest.mark.parametrize("name", ["mae", "simmim"])
def test_a_text_family_is_refused_before_anything_is_read(name, model):
    with pytest.raises(InputError) as caught:
        objective(name).heads(model)
    assert str(caught.value) == (
        f"objective {name} needs image encoder, but family bert is an encoder: "
        "choose another family or objective"
    )


def test_an_image_family_cannot_predict_words(vocabulary):
    with pytest.raises(InputError) as caught:
        Pretraining([MaskedLanguage(vocabulary)], vocabulary).refuse(tiny())
    assert str(caught.value) == (
        "objective mlm needs encoder, but family vit is an image encoder: "
        "choose another family or objective"
    )


def test_images_of_another_size_are_refused():
    made = ImagePretraining([MaskedAutoencoder()], PixelFrame(32, 4))
    with pytest.raises(ValueError, match="images of 16 x 16 pixels for a model of 32 x 32"):
        made.prepare(image_sequences(IMAGES), np.random.default_rng(0))


def drawn(seed, *, noise, count=16):
    """Each image one colour gradient, whose hidden patches follow from the kept ones, or noise."""
    if noise:
        return random_pixels(count, seed=seed)
    ends = np.random.default_rng(seed).integers(0, 256, (count, 3, 2)).astype(float)
    ramp = np.linspace(0, 1, SIDE)
    rows = ends[:, :, :1] * (1 - ramp) + ends[:, :, 1:] * ramp
    return np.repeat(rows[:, :, :, None], SIDE, 3).astype(np.uint8)


@pytest.mark.parametrize("name", ["mae", "simmim"])
def test_gradients_of_colour_are_learnt_and_noise_is_not(name):
    losses = {}
    for noise in (False, True):
        made, model = objective(name), tiny()
        heads = made.heads(model)
        optimizer = torch.optim.Adam([*model.parameters(), *heads.parameters()], lr=3e-3)
        for step in range(150):
            pixels = drawn(step, noise=noise)
            rng = np.random.default_rng(step)
            loss = made.loss(model, heads, made.prepare(image_sequences(pixels), rng)).value
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[noise] = loss.item()
    assert losses[False] < 0.75 * losses[True], losses

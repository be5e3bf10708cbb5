import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from headstart.data.code_book import CodeBook, learn_codes
from headstart.data.patches import cut
from headstart.families import vit
from headstart.nn import Patches
from headstart.objectives.image_objective import ImagePretraining
from headstart.objectives.visual_tokens import VisualTokens, block_masks
from images import FRAME, PATCH, SIDE, image_sequences, random_pixels

IMAGES = random_pixels(4)
CODES = CodeBook(np.random.default_rng(0).normal(size=(8, 48)).astype(np.float32))


def tiny():
    shape = Patches(image_size=SIDE, patch_size=PATCH)
    return vit.build(num_layers=2, hidden_size=32, num_heads=2, patches=shape)


def objective(codes=CODES, rate=0.5):
    return ImagePretraining([VisualTokens(codes, rate=rate)], FRAME)


def prepared(pixels=IMAGES, seed=0):
    return objective().prepare(image_sequences(pixels), np.random.default_rng(seed))


@pytest.mark.parametrize("grid", [1, 2, 4, 8, 14])
@pytest.mark.parametrize("rate", [0.1, 0.4, 0.75])
def test_every_image_hides_the_share_asked_for(grid, rate):
    hidden = block_masks(50, grid=grid, rate=rate, rng=np.random.default_rng(0))
    wanted = max(1, round(rate * grid**2))
    assert hidden.sum(1).tolist() == [wanted] * 50


def test_patches_are_hidden_in_blocks():
    blocks = block_masks(400, grid=14, rate=0.4, rng=np.random.default_rng(0))
    alone = np.random.default_rng(1).random((400, 196)).argsort(1) < round(0.4 * 196)

    def alike(hidden):
        """Share of neighbours of a hidden patch, to its right, that are hidden too."""
        square = hidden.reshape(-1, 14, 14)
        return (square[:, :, 1:] & square[:, :, :-1]).sum() / square[:, :, :-1].sum()

    # scattered ones: 78 of 196 are hidden, so a neighbour is with 77 of 195
    assert alike(alone) == pytest.approx(77 / 195, abs=0.01)
    assert alike(blocks) > 0.7


def test_no_place_is_always_hidden_or_never_and_left_is_as_right():
    often = block_masks(4000, grid=8, rate=0.4, rng=np.random.default_rng(0)).mean(0)
    assert often.mean() == pytest.approx(26 / 64)
    assert 0.05 < often.min() < often.max() < 0.75  # corners are in fewer blocks
    square = often.reshape(8, 8)
    assert np.abs(square - square[:, ::-1]).max() < 0.05


def test_the_targets_are_the_codes_of_the_hidden_patches_and_the_stream_is_the_whole_image():
    batch = prepared()
    patches = cut(FRAME.scale.apply(IMAGES), PATCH)
    stream = batch.inputs["pixels"].view(4, 17, -1)
    assert torch.equal(stream[:, 1:], torch.from_numpy(patches))
    slots = batch.targets["beit.slots"].tolist()
    assert len(slots) == 4 * 8
    assert torch.nonzero(batch.targets["beit.hidden"]).flatten().tolist() == slots
    for slot, label in zip(slots, batch.targets["beit.labels"].tolist(), strict=True):
        patch = patches[slot // 17, slot % 17 - 1]
        assert CODES.tokens(patch[None])[0] == label


def test_the_network_sees_nothing_of_what_it_must_predict():
    made, model = objective(), tiny().eval()
    heads = made.heads(model).eval()
    batch = prepared()

    @torch.no_grad()
    def seen(pixels):
        again = prepared(pixels)
        same = {**again.targets, "beit.labels": batch.targets["beit.labels"]}
        return made.loss(model, heads, replace(again, targets=same)).value

    before, changed = seen(IMAGES), IMAGES.copy()
    slot = int(batch.targets["beit.slots"][3])
    row, column = divmod(slot % 17 - 1, SIDE // PATCH)
    across = slice(column * PATCH, (column + 1) * PATCH)
    changed[slot // 17, :, row * PATCH : (row + 1) * PATCH, across] ^= 255
    assert torch.equal(seen(changed), before)
    # a control: a change in a patch that is shown does show
    hidden = set(batch.targets["beit.slots"].tolist())
    row, column = divmod(next(n for n in range(1, 17) if n not in hidden) - 1, SIDE // PATCH)
    changed[0, :, row * PATCH, column * PATCH] ^= 255
    assert not torch.equal(seen(changed), before)


def test_without_knowledge_the_loss_is_the_logarithm_of_the_number_of_codes():
    made, model = objective(), tiny()
    heads = made.heads(model)
    with torch.no_grad():
        heads["beit"].predict.weight.zero_()
    loss = made.loss(model, heads, prepared())
    assert loss.value.item() == pytest.approx(math.log(8), abs=1e-6)
    assert loss.count == 32


def drawn(seed, *, noise, count=16):
    """Stripes of one direction and phase an image, or noise."""
    if noise:
        return random_pixels(count, seed=seed)
    rng = np.random.default_rng(seed)
    place = np.arange(SIDE)
    waves = np.sin(2 * np.pi * place / PATCH + rng.integers(0, 4, (count, 1)) * np.pi / 2)
    square = np.repeat(waves[:, None, :], SIDE, 1)
    turned = rng.random(count) < 0.5
    square[turned] = square[turned].transpose(0, 2, 1)
    return np.repeat((127 + 100 * square)[:, None], 3, 1).astype(np.uint8)


def test_codes_of_regular_images_are_learnt_and_those_of_noise_are_not():
    losses = {}
    for noise in (False, True):
        patches = cut(FRAME.scale.apply(drawn(99, noise=noise, count=64)), PATCH)
        codes = learn_codes(patches.reshape(-1, 48), 8, seed=0)
        made, model = objective(codes), tiny()
        heads = made.heads(model)
        optimizer = torch.optim.Adam([*model.parameters(), *heads.parameters()], lr=3e-3)
        for step in range(60):
            pixels = drawn(step, noise=noise)
            batch = made.prepare(image_sequences(pixels), np.random.default_rng(step))
            loss = made.loss(model, heads, batch).value
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[noise] = loss.item()
    assert losses[False] < 0.3
    assert losses[True] > 1.5

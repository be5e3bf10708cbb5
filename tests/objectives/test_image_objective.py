"""Contrast of views, and several parts over one pass of the network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from headstart.data.augment import Augmentation
from headstart.data.code_book import CodeBook
from headstart.data.image_batches import ImageRows, Views
from headstart.data.loader import TokenBatches
from headstart.errors import InputError
from headstart.families import vit
from headstart.families.style import PatchDecoder
from headstart.nn import Patches
from headstart.objectives import Contrast, MaskedAutoencoder, SimpleMaskedImage, VisualTokens
from headstart.objectives.image_objective import ImagePretraining
from images import FRAME, PATCH, SIDE, TOKENS, random_pixels

SMALL = PatchDecoder(hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32)
CODES = CodeBook(np.random.default_rng(0).normal(size=(8, 48)).astype(np.float32))
MAKERS = {
    "mae": lambda: MaskedAutoencoder(SMALL, weight=0.5),
    "simmim": lambda: SimpleMaskedImage(weight=0.5),
    "beit": lambda: VisualTokens(CODES, weight=0.5),
    "contrast": lambda: Contrast("crops", temperature=0.2),
}
STRONG = Augmentation(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, coloured=0.8, grey=0.2)


def objective(*names):
    return ImagePretraining([MAKERS[name]() for name in names], FRAME)


def tiny():
    shape = Patches(image_size=SIDE, patch_size=PATCH)
    return vit.build(num_layers=2, hidden_size=32, num_heads=2, patches=shape)


def views(pixels, *, size=5):
    rows = ImageRows(pixels, tokens=TOKENS)
    batches = TokenBatches(rows, tokens_per_batch=size * TOKENS, seed=0)
    return Views(batches, side=SIDE, seed=0, how=Augmentation(), pairs=STRONG)


SEQUENCES = views(random_pixels(5)).batch(0)


def test_contrast_equals_the_formula_written_out():
    made, model = objective("contrast"), tiny()
    heads = made.heads(model)
    loss = made.loss(model, heads, made.prepare(SEQUENCES, np.random.default_rng(0)))
    pairs = SEQUENCES.fields["views"]
    vectors = []
    for pixels in pairs.reshape(10, 1, 3, SIDE, SIDE):
        inputs, layout = FRAME.lay_out(replace(SEQUENCES, fields={"pixels": pixels}))
        states = model.stack(model.embed(inputs["pixels"], layout), layout)
        head = heads["contrast"]
        vectors.append(head.down(F.relu(head.up(states.mean(0)))))
    near = F.normalize(torch.stack(vectors), dim=-1)
    scores = (near @ near.t() / 0.2).exp()
    expected = 0.0
    for one in range(10):
        other = one ^ 1  # the two views of an image lie side by side
        expected -= (scores[one, other] / (scores[one].sum() - scores[one, one])).log().item() / 10
    assert loss.value.item() == pytest.approx(expected, abs=1e-5)
    assert loss.count == 10


@pytest.mark.parametrize("other", ["mae", "simmim", "beit"])
def test_a_joint_loss_is_the_weighted_sum_of_the_parts_alone_and_so_is_its_gradient(other):
    model = tiny().double()
    both = objective(other, "contrast")
    heads = both.heads(model)
    with torch.no_grad():
        for weight in heads[other].parameters():  # some begin as zeros and have no gradient
            weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    heads.double()

    def run(made):
        batch = made.prepare(SEQUENCES, np.random.default_rng(3))
        batch.inputs = {name: tensor.double() for name, tensor in batch.inputs.items()}
        model.zero_grad()
        loss = made.loss(model, heads, batch)
        loss.value.backward()
        return loss, [weight.grad.clone() for weight in model.parameters()]

    joint, gradient = run(both)
    (one, first), (two, second) = run(objective(other)), run(objective("contrast"))
    # losses are taken in fp32, the network runs in fp64
    assert joint.value.item() == pytest.approx(0.5 * one.value.item() + two.value.item(), rel=1e-6)
    assert joint.parts[other].item() == pytest.approx(one.value.item(), rel=1e-6)
    for found, mine, others in zip(gradient, first, second, strict=True):
        assert torch.allclose(found, 0.5 * mine + others, rtol=1e-4, atol=1e-7)
    whole = first[-1] + second[-1]
    assert not torch.allclose(gradient[-1], whole, rtol=1e-3, atol=1e-7)  # a control


def test_the_network_is_run_once_for_all_parts():
    model, calls = tiny(), []
    model.stack.register_forward_hook(lambda *_: calls.append(1))
    made = objective("mae", "contrast")
    batch = made.prepare(SEQUENCES, np.random.default_rng(0))
    assert batch.layout["tokens"].rows == ((5, 5), (10, 17))
    made.loss(model, made.heads(model), batch)
    assert len(calls) == 1


def test_parts_must_differ():
    with pytest.raises(InputError) as caught:
        objective("mae", "mae")
    assert str(caught.value) == "objective parts must differ, but are mae, mae"


def photos(seed, *, noise, count=16):
    """Images of two colours each, or noise that is drawn anew for each view."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 256, (count, 3, 2)).astype(float)
    ramp = np.linspace(0, 1, SIDE)
    rows = ends[:, :, :1] * (1 - ramp) + ends[:, :, 1:] * ramp
    images = np.repeat(rows[:, :, :, None], SIDE, 3).astype(np.uint8)
    found = views(images, size=count).batch(0)
    if noise:
        drawn = rng.integers(0, 256, (count, 2, 3, SIDE, SIDE), dtype=np.uint8)
        found = replace(found, fields={**found.fields, "views": drawn})
    return found


def test_views_of_one_image_are_learnt_to_be_alike_and_those_of_noise_cannot_be():
    means = {}
    for noise in (False, True):
        made, model, losses = objective("contrast"), tiny(), []
        heads = made.heads(model)
        optimizer = torch.optim.Adam([*model.parameters(), *heads.parameters()], lr=2e-3)
        for step in range(60):
            batch = made.prepare(photos(step, noise=noise), np.random.default_rng(step))
            loss = made.loss(model, heads, batch).value
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means[noise] = np.mean(losses[-10:])
    # 31 candidates: their logarithm is 3.43
    assert means[False] < 2.8
    assert means[True] > 3.3

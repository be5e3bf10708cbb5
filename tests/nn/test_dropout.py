import numpy as np
import pytest
import torch

from headstart.nn import dropout as module
from headstart.nn.dropout import drop


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_elements_and_their_gradients_are_dropped_or_scaled_alike(dtype):
    torch.manual_seed(0)
    x = torch.ones(301, 7, dtype=dtype, requires_grad=True)  # not a multiple of four
    out = drop(x, 0.25, training=True)
    assert out.dtype == dtype
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3], rel=4e-3)
    out.backward(torch.full_like(out, 2.0))
    assert torch.equal(x.grad, 2 * out.detach())


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_share_of_dropped_elements_is_the_one_asked_for_and_the_mean_stays(share):
    torch.manual_seed(1)
    out = drop(torch.ones(1000, 1000), share, training=True)
    spread = (share * (1 - share)) ** 0.5 / 1000  # standard deviation of the share found
    assert abs(float((out == 0).double().mean()) - share) < 5 * spread
    assert abs(float(out.double().mean()) - 1) < 5 * spread / (1 - share)


def test_the_four_draws_of_a_word_and_neighbouring_words_are_independent():
    torch.manual_seed(2)
    count = 400_000
    kept = (drop(torch.ones(count), 0.5, training=True) != 0).numpy().astype(float) - 0.5
    for shift in range(1, 9):
        assert abs((kept[shift:] * kept[:-shift]).mean()) < 5 * 0.25 / np.sqrt(count)
    for lane in range(4):
        assert abs(kept[lane::4].mean()) < 5 * 0.5 / np.sqrt(count / 4)


def test_the_same_seed_drops_the_same_and_the_next_call_others():
    x = torch.randn(64, 64)
    torch.manual_seed(3)
    first, second = drop(x, 0.5, training=True), drop(x, 0.5, training=True)
    torch.manual_seed(3)
    assert torch.equal(drop(x, 0.5, training=True), first)
    assert not torch.equal(first, second)


def test_nothing_is_drawn_where_nothing_is_dropped():
    x = torch.randn(8)
    state = torch.get_rng_state()
    assert drop(x, 0.5, training=False) is x
    assert drop(x, 0.0, training=True) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_a_view_that_is_laid_out_otherwise_is_dropped_element_by_element():
    x = torch.randn(6, 5, 4, dtype=torch.float64, requires_grad=True)
    turned = x.transpose(0, 2)
    torch.manual_seed(4)
    factor = drop(torch.ones(4, 5, 6, dtype=torch.float64), 0.5, training=True)
    torch.manual_seed(4)
    out = drop(turned, 0.5, training=True)
    assert torch.equal(out, turned * factor)
    out.sum().backward()
    assert torch.equal(x.grad.transpose(0, 2), factor)


@pytest.mark.parametrize("share", [1.0, 1e-6])
def test_shares_that_sixteen_bits_cannot_say_are_the_librarys(share, monkeypatch):
    asked = []
    monkeypatch.setattr(module.F, "dropout", lambda *given: asked.append(given) or given[0])
    x = torch.ones(3)
    assert drop(x, share, training=True) is x
    assert asked == [(x, share, True)]

import importlib

import pytest
import torch
from torch.nn import functional as F

from headstart.objectives import table_loss

MODULE = importlib.import_module("headstart.objectives.table_loss")


@pytest.fixture
def parts():
    torch.manual_seed(0)
    shape = {"dtype": torch.float64, "requires_grad": True}
    return torch.randn(50, 8, **shape), torch.randn(30, 8, **shape), torch.randn(30, **shape)


@pytest.mark.parametrize("at_once", [2**26, 200])
def test_loss_and_gradients_equal_torchs_cross_entropy_in_one_piece_and_in_many(
    parts, at_once, monkeypatch
):
    monkeypatch.setattr(MODULE, "SCORES_AT_ONCE", at_once)
    hidden, table, bias = parts
    labels = torch.randint(0, 30, (50,))
    ours = table_loss(hidden, table, bias, labels)
    theirs = F.cross_entropy(hidden @ table.t() + bias, labels)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    for mine, other in zip(
        torch.autograd.grad(ours, parts), torch.autograd.grad(theirs, parts), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-7, rtol=1e-6)


def test_spread_targets_equal_the_weighted_sum_of_log_probabilities(parts, monkeypatch):
    monkeypatch.setattr(MODULE, "SCORES_AT_ONCE", 300)
    hidden, table, bias = parts
    at = torch.stack([torch.arange(50).repeat(3), torch.randint(0, 30, (150,))])
    share = torch.rand(150, dtype=torch.float64)
    share = share / torch.zeros(50, dtype=torch.float64).index_add(0, at[0], share)[at[0]]
    ours = table_loss(hidden, table, bias, at, share)
    chance = torch.log_softmax(hidden @ table.t() + bias, -1)
    theirs = -(share * chance[at[0], at[1]]).sum() / 50
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    for mine, other in zip(
        torch.autograd.grad(ours, parts), torch.autograd.grad(theirs, parts), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


def test_a_wrong_label_gives_another_loss(parts):
    hidden, table, bias = parts
    labels = torch.zeros(50, dtype=torch.long)
    other = labels.clone()
    other[0] = 1
    first, second = table_loss(hidden, table, bias, labels), table_loss(hidden, table, bias, other)
    assert abs(first.item() - second.item()) > 1e-4


def test_without_bias_the_gradient_of_the_bias_is_left_out(parts):
    hidden, table, _ = parts
    loss = table_loss(hidden, table, None, torch.zeros(50, dtype=torch.long))
    theirs = F.cross_entropy(hidden @ table.t(), torch.zeros(50, dtype=torch.long))
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)


def test_a_table_of_bf16_keeps_its_gradient_however_many_targets_there_are(monkeypatch):
    monkeypatch.setattr(MODULE, "SCORES_AT_ONCE", 32)  # a target at a time, were there no limit
    torch.manual_seed(0)
    wide = torch.randn(6400, 16), torch.randn(32, 16)
    labels = torch.randint(0, 32, (6400,))
    narrow = [tensor.bfloat16().requires_grad_() for tensor in wide]
    exact = [tensor.detach().float().requires_grad_() for tensor in narrow]
    (found,) = torch.autograd.grad(table_loss(*narrow, None, labels), narrow[1:])
    (expected,) = torch.autograd.grad(F.cross_entropy(exact[0] @ exact[1].t(), labels), exact[1:])
    assert (found.float() - expected).norm() < 0.03 * expected.norm()


def test_a_weight_of_the_loss_is_not_rounded_to_the_format_of_the_gradients():
    torch.manual_seed(0)
    hidden, table = torch.randn(50, 8).bfloat16(), torch.randn(30, 8).bfloat16()
    labels = torch.randint(0, 30, (50,))
    grads = []
    for weight in (1.0, 1.0039):  # bf16 has 1, 1.0078, ...
        leaf = hidden.clone().requires_grad_()
        (table_loss(leaf, table, None, labels) * weight).backward()
        grads.append(leaf.grad)
    assert torch.equal(grads[1], (grads[0].float() * 1.0039).bfloat16())

import pytest
import torch
from torch.nn import functional as F

from headstart.nn import kernels
from headstart.nn.kernels import _scores_gradient, _shares, attend
from headstart.nn.mask import RowMask
from headstart.nn.position import rotate, rotation

ROWS, WIDTH, HEADS, DIM = 3, 7, 2, 4


def inputs():
    generator = torch.Generator().manual_seed(0)
    shape = (ROWS * WIDTH, 3, HEADS, DIM)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def masks():
    owner = torch.tensor([[0, 0, 0, 1, 1, 2, -1], [3] * 7, [4, 4, -1, -1, -1, -1, -1]])
    apart = owner[:, :, None] != owner[:, None, :]
    none = torch.zeros(ROWS, 1, WIDTH, WIDTH, dtype=torch.float64)
    packed = none.masked_fill(apart[:, None], float("-inf"))
    return {
        "all": RowMask(0, ROWS, WIDTH, None, False),
        "causal": RowMask(0, ROWS, WIDTH, None, True),
        "packed": RowMask(0, ROWS, WIDTH, packed, False),
        "soft": RowMask(0, ROWS, WIDTH, torch.linspace(-2, 2, 49).double().view(1, 1, 7, 7), False),
    }


@pytest.mark.parametrize("name", list(masks()))
def test_explicit_products_equal_the_library_kernel_with_gradients(name):
    mask = masks()[name]
    ours, theirs = inputs(), inputs()
    out = attend(ours, (mask,))
    q, k, v = theirs.view(ROWS, WIDTH, 3, HEADS, DIM).permute(2, 0, 3, 1, 4).unbind(0)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.bias, is_causal=mask.causal)
    expected = expected.transpose(1, 2).reshape(ROWS * WIDTH, -1)
    assert (out - expected).abs().max() <= 1e-12
    weight = torch.linspace(-1, 1, out.numel()).double().view_as(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    assert theirs.grad.abs().max() > 0.1
    assert (ours.grad - theirs.grad).abs().max() <= 1e-12


@pytest.mark.parametrize("name", list(masks()))
def test_with_and_without_gradients_the_result_is_the_same(name):
    mask = masks()[name]
    with_gradients = attend(inputs(), (mask,)).detach()
    with torch.no_grad():
        assert (attend(inputs(), (mask,)) - with_gradients).abs().max() <= 1e-12


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("name", list(masks()))
def test_whatever_the_processor_answers_by_the_result_is_the_same(name, tiles, monkeypatch):
    monkeypatch.setattr(kernels, "has_tiles", lambda: tiles)
    monkeypatch.setattr(kernels, "LEAST_SCORES", 0)
    calls = []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or kernel(*a, **k)
    )
    mask = masks()[name]
    expected = attend(inputs(), (mask,)).detach()
    assert not calls
    with torch.no_grad():
        assert (attend(inputs(), (mask,)) - expected).abs().max() <= 1e-12
    assert len(calls) == tiles


def test_the_written_gradient_is_the_numerical_one():
    mask = masks()["packed"]
    assert torch.autograd.gradcheck(lambda qkv: attend(qkv, (mask,)), (inputs(),))


def test_one_query_and_two_keys_by_hand():
    # one head of width 4, so scores are divided by 2. The second query meets keys with products
    # 0 and 2 ln 3: weights 1/4 and 3/4 of values 0 and 8
    qkv = torch.zeros(2, 3, 1, 4, dtype=torch.float64)
    qkv[1, 0, 0, 0] = 1.0
    qkv[1, 1, 0, 0] = 2 * torch.log(torch.tensor(3.0, dtype=torch.float64))
    qkv[1, 2, 0] = 8.0
    out = attend(qkv, (RowMask(0, 1, 2, None, False),))
    assert out[1].tolist() == pytest.approx([6.0] * 4)
    assert out[0].tolist() == pytest.approx([4.0] * 4)  # its query is zero: the plain mean


def test_rows_of_one_token_give_their_value():
    qkv = inputs()
    one = (RowMask(0, ROWS * WIDTH, 1, None, False),)
    assert torch.equal(attend(qkv, one), qkv[:, 2].flatten(1))
    with torch.no_grad():
        assert torch.equal(attend(qkv, one), qkv[:, 2].flatten(1))


def test_turned_blocks_of_two_widths_equal_the_library_kernel_with_gradients():
    # 2 rows of 7 and 1 row of 4 make a stream of 18
    masks_of_two = (RowMask(0, 2, 7, None, True), RowMask(14, 1, 4, None, False))
    positions = torch.cat([torch.arange(7), torch.arange(7), torch.arange(4)])
    turn = rotation(positions, DIM, theta=100.0, dtype=torch.float64)
    ours, theirs = inputs()[:18], inputs()[:18]
    ours, theirs = (t.detach().requires_grad_() for t in (ours, theirs))
    out = attend(ours, masks_of_two, turn)
    turned = rotate(theirs[:, :2].flatten(1, 2), turn).view(18, 2, HEADS, DIM)
    whole = torch.cat([turned, theirs[:, 2:]], 1)
    expected = []
    for mask in masks_of_two:
        block = whole[mask.start : mask.start + mask.count * mask.width]
        q, k, v = block.view(mask.count, mask.width, 3, HEADS, DIM).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=mask.causal)
        expected.append(mixed.transpose(1, 2).reshape(-1, HEADS * DIM))
    expected = torch.cat(expected)
    assert (out - expected).abs().max() <= 1e-12
    weight = torch.linspace(-1, 1, out.numel()).double().view_as(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    assert theirs.grad.abs().max() > 0.1
    assert (ours.grad - theirs.grad).abs().max() <= 1e-12


def relative_masks():
    generator = torch.Generator().manual_seed(1)
    near = torch.randn(1, HEADS, WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    return near, masks()


@pytest.mark.parametrize("name", ["all", "causal", "packed"])
def test_biases_of_distances_and_their_gradients_equal_those_of_the_library_kernel(name):
    near, kinds = relative_masks()
    mine, theirs = (near.clone().requires_grad_() for _ in range(2))
    mask = kinds[name]
    ours, expected = inputs(), inputs()
    out = attend(ours, (mask.plus(mine),), scale=1.0)
    q, k, v = expected.view(ROWS, WIDTH, 3, HEADS, DIM).permute(2, 0, 3, 1, 4).unbind(0)
    scores = q @ k.transpose(-1, -2) + theirs
    if mask.causal:
        scores = scores.masked_fill(torch.ones(WIDTH, WIDTH).triu(1).bool(), float("-inf"))
    elif mask.bias is not None:
        scores = scores + mask.bias
    plain = (scores.softmax(-1) @ v).transpose(1, 2).reshape(ROWS * WIDTH, -1)
    assert (out - plain).abs().max() <= 1e-12
    weight = torch.linspace(-1, 1, out.numel()).double().view_as(out)
    (out * weight).sum().backward()
    (plain * weight).sum().backward()
    for a, b in ((mine.grad, theirs.grad), (ours.grad, expected.grad)):
        assert b.abs().max() > 0.1
        assert (a - b).abs().max() <= 1e-12
    with torch.no_grad():  # added to the mask beforehand
        assert (attend(inputs(), (mask.plus(near),), scale=1.0) - plain).abs().max() <= 1e-12


def test_biases_of_distances_are_learnt_with_dropout_too():
    near, kinds = relative_masks()
    near.requires_grad_()
    torch.manual_seed(0)
    attend(inputs(), (kinds["packed"].plus(near),), dropout=0.3).square().sum().backward()
    assert near.grad.abs().max() > 0.01


def test_biases_of_distances_are_learnt_where_the_blocks_below_are_frozen():
    width = 64  # so many scores are multiplied out by whoever only answers
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn((width, 3, HEADS, DIM), generator=generator)
    near = torch.randn(1, HEADS, width, width, generator=generator)
    grads = []
    for frozen in (True, False):
        mine = near.clone().requires_grad_()
        given = qkv.clone() if frozen else qkv.clone().requires_grad_()
        attend(given, (RowMask(0, 1, width, None, True).plus(mine),)).square().sum().backward()
        grads.append(mine.grad)
    assert grads[1].abs().max() > 0.01
    assert torch.equal(*grads)


def test_the_written_gradient_of_biases_is_the_numerical_one():
    near, kinds = relative_masks()
    near.requires_grad_()
    mask = kinds["causal"]
    check = torch.autograd.gradcheck
    assert check(lambda n: attend(inputs(), (mask.plus(n),), scale=0.3), (near,))


def test_biases_of_distances_learn_beside_rows_of_one_token():
    # 2 rows of 7, then 3 rows of one token: filling
    near = torch.randn(1, HEADS, 7, 7, generator=torch.Generator().manual_seed(1)).double()
    lone = torch.randn(1, HEADS, 1, 1, generator=torch.Generator().manual_seed(2)).double()
    kinds = (RowMask(0, 2, 7, None, True), RowMask(14, 3, 1, None, False))
    grads = []
    for blocks in (kinds, kinds[:1]):
        mine, other = near.clone().requires_grad_(), lone.clone().requires_grad_()
        qkv = inputs()[:17] if len(blocks) == 2 else inputs()[:14]
        biased = [mask.plus(bias) for mask, bias in zip(blocks, (mine, other), strict=False)]
        attend(qkv, tuple(biased))[:14].square().sum().backward()
        grads.append(mine.grad)
        assert other.grad is None or not other.grad.any()
    assert grads[1].abs().max() > 0.01
    assert (grads[0] - grads[1]).abs().max() <= 1e-12


@pytest.mark.parametrize("width", [5, 40])
def test_shares_in_half_precision_and_their_gradients_are_the_exact_ones_rounded(width):
    torch.manual_seed(0)
    scores, above = torch.randn(2, 6, width, width, dtype=torch.float64) * 3
    exact = scores.bfloat16().double().requires_grad_()
    right = torch.softmax(exact, -1)
    right.backward(above.bfloat16().double())
    found = _shares(scores.bfloat16())
    back = _scores_gradient(above.bfloat16(), right.detach().bfloat16())
    assert found.dtype == back.dtype == torch.bfloat16
    assert (found.double() - right).abs().max() <= 2**-9
    assert (back.double() - exact.grad).abs().max() <= 2**-7 * exact.grad.abs().max()
    assert (found.double() - right.roll(1, -1)).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("offset", [0.0, 300.0, -300.0])
def test_scores_of_any_size_are_answered_as_by_the_library_kernel(offset, dtype, monkeypatch):
    # exponentials of 300 are no numbers in either format, and those of -300 are all 0
    monkeypatch.setattr(kernels, "has_tiles", lambda: False)
    monkeypatch.setattr(kernels, "LEAST_SCORES", 0)
    softmaxes = []
    softmax = kernels.softmax_
    monkeypatch.setattr(kernels, "softmax_", lambda x: softmaxes.append(1) or softmax(x))
    qkv = inputs().detach()
    qkv[:, 0, :, 0], qkv[:, 1, :, 0] = 20.0, offset / 10  # times 1/2: every score is so much more
    qkv = qkv.to(dtype)
    hidden = torch.zeros(ROWS, 1, 1, WIDTH)
    hidden[1, ..., 4:] = float("-inf")
    mask = RowMask(0, ROWS, WIDTH, hidden.to(dtype), False)
    q, k, v = qkv.view(ROWS, WIDTH, 3, HEADS, DIM).permute(2, 0, 3, 1, 4).float().unbind(0)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
    expected = expected.transpose(1, 2).reshape(ROWS * WIDTH, -1)
    with torch.no_grad():
        found = attend(qkv.clone(), (mask,)).float()
    assert len(softmaxes) == (offset != 0.0)
    most = 1e-4 if dtype == torch.float32 else 0.03 if offset == 0.0 else 0.8
    assert (found - expected).abs().max() <= most
    blind = RowMask(0, ROWS, WIDTH, None, False)
    with torch.no_grad():
        assert (attend(qkv.clone(), (blind,)).float() - expected).abs().max() > 0.8

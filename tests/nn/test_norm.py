import pytest
import torch
from torch.nn import functional as F

from headstart.nn import Norm, TransformerConfig

SIZES = {
    "vocab_size": 5,
    "hidden_size": 4,
    "num_layers": 1,
    "num_heads": 1,
    "intermediate_size": 4,
    "norm_eps": 0.0,
}
X = torch.tensor([[1.0, 1.0, 5.0, 5.0]])


def test_layer_norm_by_hand():
    # mean 3, deviation 2
    norm = Norm(TransformerConfig(**SIZES))
    with torch.no_grad():
        norm.weight.fill_(10.0)
        norm.bias.fill_(0.5)
    assert norm(X)[0].tolist() == pytest.approx([-9.5, -9.5, 10.5, 10.5])


def test_rms_norm_by_hand():
    # mean of squares (1 + 1 + 25 + 25) / 4 = 13
    norm = Norm(TransformerConfig(**SIZES, norm="rms"))
    with torch.no_grad():
        norm.weight.fill_(13**0.5)
    assert norm(X)[0].tolist() == pytest.approx([1.0, 1.0, 5.0, 5.0])
    assert norm.bias is None


def test_epsilon_keeps_a_constant_token_finite():
    norm = Norm(TransformerConfig(**SIZES | {"norm_eps": 1e-5}))
    assert norm(torch.full((1, 4), 7.0)).tolist() == [[0.0] * 4]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rms_norm_and_its_gradients_are_those_of_torch(dtype):
    torch.manual_seed(0)
    norm = Norm(TransformerConfig(**SIZES | {"hidden_size": 48, "norm_eps": 1e-3}, norm="rms"))
    with torch.no_grad():
        norm.weight.normal_()
    norm = norm.to(dtype)
    x = torch.randn(3, 7, 48, dtype=dtype)
    above = torch.randn_like(x)
    exact = norm.weight.detach().double().requires_grad_()
    found, right = x.clone().requires_grad_(), x.double().requires_grad_()
    out, wanted = norm(found), F.rms_norm(right, (48,), exact, 1e-3)
    out.backward(above)
    wanted.backward(above.double())
    # a bf16 result is rounded once; the sum of 21 weight gradients can cancel
    most = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 2**-8}[dtype]
    for one, other in ((out, wanted), (found.grad, right.grad), (norm.weight.grad, exact.grad)):
        assert one.dtype == dtype
        assert (one.double() - other).abs().max() <= most * other.abs().max()
    assert (found.grad.double() - above.double()).abs().max() > 0.1  # the norm does something

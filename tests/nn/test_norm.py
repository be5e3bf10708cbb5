import pytest
import torch

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

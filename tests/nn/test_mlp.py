import math

import pytest
import torch

from headstart.nn import TransformerConfig
from headstart.nn.mlp import ACTIVATIONS, MLP

SIZES = {
    "vocab_size": 5,
    "hidden_size": 2,
    "num_layers": 1,
    "num_heads": 1,
    "intermediate_size": 1,
    "bias": False,
    "position": "learned",
}


def filled(mlp, up, down):
    with torch.no_grad():
        mlp.up.weight.copy_(torch.tensor(up))
        mlp.down.weight.copy_(torch.tensor(down))
    return mlp


def test_a_gated_mlp_by_hand():
    # first half is the gate: relu(1*2 + 0*3) = 2, times 0*2 + 1*3 = 3, written as (6, -6)
    mlp = MLP(TransformerConfig(**SIZES, gated=True, activation="relu"))
    mlp = filled(mlp, [[1.0, 0.0], [0.0, 1.0]], [[1.0], [-1.0]])
    assert mlp(torch.tensor([[2.0, 3.0]])).tolist() == [[6.0, -6.0]]
    assert mlp(torch.tensor([[-2.0, 3.0]])).tolist() == [[0.0, 0.0]]


def test_a_plain_mlp_by_hand():
    mlp = filled(MLP(TransformerConfig(**SIZES, activation="relu2")), [[1.0, 1.0]], [[1.0], [2.0]])
    assert mlp(torch.tensor([[1.0, 2.0]])).tolist() == [[9.0, 18.0]]


def test_activations_by_hand():
    x = torch.tensor([1.0], dtype=torch.float64)
    normal = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    inner = math.sqrt(2 / math.pi) * (1 + 0.044715)
    expected = {
        "gelu": normal,
        "gelu_tanh": 0.5 * (1 + math.tanh(inner)),
        "quick_gelu": 1 / (1 + math.exp(-1.702)),
        "relu": 1.0,
        "relu2": 1.0,
        "silu": 1 / (1 + math.exp(-1)),
    }
    found = {name: float(function(x)) for name, function in ACTIVATIONS.items()}
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_written_gradient_of_the_gated_gelu_is_the_numerical_one():
    config = TransformerConfig(**{**SIZES, "intermediate_size": 3}, gated=True, activation="gelu")
    mlp = MLP(config).double()
    generator = torch.Generator().manual_seed(0)
    for weight in mlp.parameters():
        torch.nn.init.normal_(weight, generator=generator)
    x = torch.randn(5, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mlp, (x,))
    with torch.no_grad():
        without = mlp(x)
    assert torch.equal(mlp(x), without)

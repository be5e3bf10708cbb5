import math

import pytest
import torch

from headstart.nn.long_range import Axial
from headstart.nn.position import AxialPositions, rotate, rotation, sinusoids


def test_a_rotary_turn_by_hand():
    # head of width 4: pairs (0, 2) and (1, 3), angles p and p / sqrt(theta) = p / 10
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]], dtype=torch.float64)
    turn = rotation(torch.tensor([2]), 4, theta=100.0, dtype=torch.float64)
    a, b = 2.0, 0.2
    expected = [
        1 * math.cos(a) - 3 * math.sin(a),
        2 * math.cos(b) - 4 * math.sin(b),
        3 * math.cos(a) + 1 * math.sin(a),
        4 * math.cos(b) + 2 * math.sin(b),
    ]
    assert rotate(x, turn)[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_position_zero_turns_nothing():
    x = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0))
    turn = rotation(torch.tensor([0]), 8, theta=10_000.0, dtype=torch.float32)
    assert torch.equal(rotate(x, turn), x)


def test_products_of_turned_vectors_depend_on_their_distance_only():
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 8, generator=generator, dtype=torch.float64) for _ in range(2))

    def product(one: int, other: int) -> float:
        turns = [
            rotation(torch.tensor([p]), 8, theta=50.0, dtype=torch.float64) for p in (one, other)
        ]
        return float((rotate(q, turns[0]) * rotate(k, turns[1])).sum())

    assert product(3, 7) == pytest.approx(product(10, 14), abs=1e-5)
    assert abs(product(3, 7) - product(3, 8)) > 1e-2


def test_sinusoids_by_hand():
    # width 4: angles p and p / 100; sines first, then cosines
    row = sinusoids(6, 4)[5]
    expected = [math.sin(5), math.sin(0.05), math.cos(5), math.cos(0.05)]
    assert row.tolist() == pytest.approx(expected, abs=1e-6)


def test_an_axial_position_is_its_row_beside_its_column():
    table = AxialPositions(Axial(shape=(2, 3), widths=(1, 2)))
    with torch.no_grad():
        table.rows.copy_(torch.tensor([10.0, 20.0]).view(2, 1, 1))
        table.columns.copy_(torch.arange(6.0).view(1, 3, 2))
    # position 4 of rows of three: row 1, column 1
    assert table(torch.tensor([0, 4])).tolist() == [[10, 0, 1], [20, 2, 3]]
    assert table(torch.arange(6)).unique(dim=0).shape == (6, 3)

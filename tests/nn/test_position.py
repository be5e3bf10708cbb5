import math

import pytest
import torch

from headstart.nn.long_range import Axial
from headstart.nn.position import (
    AxialPositions,
    RelativeBias,
    relative_buckets,
    rotate,
    rotation,
    sinusoids,
)


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


@pytest.mark.parametrize(
    ("ahead", "kind"),
    [
        # 16 kinds on each side, of which 8 hold one distance; from there on
        # 8 + floor(8 * ln(distance / 8) / ln(128 / 8)), at most 15
        (0, 0),
        (-1, 1),
        (-7, 7),
        (-8, 8),  # ln 1 = 0
        (-11, 8),  # 8 * 0.115 = 0.92
        (-12, 9),  # 8 * 0.146 = 1.17
        (-16, 10),  # ln 2 / ln 16 = 1/4
        (-64, 14),  # ln 8 / ln 16 = 3/4
        (-127, 15),
        (-128, 15),
        (-5000, 15),
        (1, 17),  # after the query: 16 more
        (8, 24),
        (64, 30),
        (5000, 31),
    ],
)
def test_kinds_of_distances_by_hand(ahead, kind):
    found = relative_buckets(torch.tensor([ahead]), buckets=32, farthest=128, causal=False)
    assert found.tolist() == [kind]


def test_kinds_of_distances_of_a_decoder_by_hand():
    # all 32 are for what came before, 16 of them one distance:
    # 32 is 16 + floor(16 * ln 2 / ln 8) = 16 + floor(5.33), 64 is 16 + floor(10.67)
    ahead = torch.tensor([9, 0, -1, -15, -16, -32, -64, -127, -128])
    found = relative_buckets(ahead, buckets=32, farthest=128, causal=True)
    assert found.tolist() == [0, 0, 1, 15, 16, 21, 26, 31, 31]


def test_a_bias_is_one_number_for_each_head_and_distance():
    bias = RelativeBias(buckets=8, farthest=20, num_heads=2, causal=False)
    with torch.no_grad():
        bias.embedding.weight.copy_(torch.arange(16.0).view(8, 2))
    square = bias.square(3)
    assert square.shape == (1, 2, 3, 3)
    # four kinds a side, two of them one distance: 0 is 0, -1 is 1, -2 is 2, 1 is 5, 2 is 6
    assert square[0, 0].tolist() == [[0, 10, 12], [2, 0, 10], [4, 2, 0]]
    assert torch.equal(square[0, 1], square[0, 0] + 1)

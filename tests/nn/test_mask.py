from dataclasses import replace

import torch

from headstart.nn.mask import row_masks
from layouts import lay, padded, ragged


def seen(layout, **options):
    """Rows of the only block as text: x where the query (line) sees the key (column)."""
    (mask,) = row_masks(layout, dtype=torch.float32, **options)
    assert mask.bias is not None
    assert set(mask.bias.unique().tolist()) <= {0.0, float("-inf")}
    return [["".join("x" if v == 0 else "." for v in row) for row in rows[0]] for rows in mask.bias]


def test_packed_texts_see_themselves_and_padding_sees_padding():
    layout = lay(ragged((2, 1, 4)), rows=[[0, 1], [2]]).layout["tokens"]
    assert seen(layout, causal=False, window=None) == [
        ["xx..", "xx..", "..x.", "...x"],
        ["xxxx"] * 4,
    ]


def test_causal_packed_texts_see_what_came_before_in_the_same_text():
    layout = lay(ragged((2, 2)), rows=[[0, 1]]).layout["tokens"]
    assert seen(layout, causal=True, window=None) == [["x...", "xx..", "..x.", "..xx"]]


def test_a_window_reaches_half_its_width_to_each_side():
    layout = padded(ragged((6,))).layout["tokens"]
    assert seen(layout, causal=False, window=4) == [
        ["xxx...", "xxxx..", "xxxxx.", ".xxxxx", "..xxxx", "...xxx"]
    ]


def test_full_rows_need_no_bias():
    layout = padded(ragged((5, 5))).layout["tokens"]
    for causal in (False, True):
        (mask,) = row_masks(layout, causal=causal, window=None, dtype=torch.float32)
        assert (mask.bias, mask.causal) == (None, causal)


def test_blocks_of_other_widths_get_masks_of_their_own():
    layout = padded(ragged((4, 4, 4))).layout["tokens"]
    layout = replace(layout, rows=((1, 4), (4, 2)))
    first, second = row_masks(layout, causal=False, window=None, dtype=torch.float32)
    assert (first.start, first.count, first.width) == (0, 1, 4)
    assert (second.start, second.count, second.width) == (4, 4, 2)

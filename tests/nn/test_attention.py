import math

import pytest
import torch

from headstart.nn.attention import HeadShape
from headstart.nn.mask import RowMask


@pytest.mark.parametrize("training", [False, True])
def test_grouped_heads_are_shared_keys_and_values(training):
    # 4 heads of queries, 2 of keys and values: heads 0 and 1 share the first
    generator = torch.Generator().manual_seed(2)
    qkv = torch.randn(21, 8 * 4, generator=generator, dtype=torch.float64)
    heads = qkv.view(-1, 8, 4)
    order = [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    qkv.requires_grad_(training)
    owner = torch.tensor([[0, 0, 0, 1, 1, 2, -1], [3] * 7, [4, 4, -1, -1, -1, -1, -1]])
    apart = (owner[:, :, None] != owner[:, None, :])[:, None]
    mask = (RowMask(0, 3, 7, torch.zeros(apart.shape).masked_fill(apart, -math.inf), False),)
    with torch.set_grad_enabled(training):
        grouped = HeadShape(4, 2, None).mix(qkv, mask, None)
        whole = HeadShape(4, 4, None).mix(heads[:, order].flatten(1), mask, None)
    assert whole.abs().max() > 0.5
    assert (grouped - whole).abs().max() <= 1e-12

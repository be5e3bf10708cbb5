import math

import pytest
import torch

from headstart.families import bert, modern, reformer, t5

SIZES = {"num_layers": 4, "hidden_size": 128, "vocab_size": 2000}


def test_matrices_have_the_stated_spread_and_biases_are_zero():
    model = bert.build(**SIZES)
    block = model.stack.blocks[1]
    for weight in (model.embed.tokens.weight, block.attention.qkv.weight, block.mlp.down.weight):
        assert float(weight.detach().mean()) == pytest.approx(0, abs=5e-4)
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.03)
    assert not block.mlp.up.bias.any()
    assert bool((block.mlp_norm.weight == 1).all())


def test_writers_to_a_pre_norm_stream_start_smaller():
    block = modern.build(**SIZES).stack.blocks[2]
    for weight in (block.attention.out.weight, block.mlp.down.weight):
        assert float(weight.detach().std()) == pytest.approx(0.02 / math.sqrt(2 * 4), rel=0.03)
    assert float(block.mlp.up.weight.detach().std()) == pytest.approx(0.02, rel=0.03)


def test_the_seed_decides_all_weights():
    one, same, other = (modern.build(**SIZES, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["embed.tokens.weight"], other["embed.tokens.weight"])


def test_a_reformer_starts_with_the_same_spread():
    model = reformer.build(**SIZES)
    local, hashed = model.stack.blocks[0].attention, model.stack.blocks[1].attention
    positions = model.embed.positions
    for weight in (positions.rows, positions.columns, local.qkv.weight, hashed.qk.weight):
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    for part in (local, hashed):
        assert float(part.out.weight.detach().std()) == pytest.approx(0.02 / math.sqrt(8), rel=0.03)


def test_what_cross_attention_writes_starts_smaller_too():
    model = t5.build(**SIZES)
    weight = model.decoder.blocks[2].cross.out.weight.detach()
    assert float(weight.std()) == pytest.approx(0.02 / math.sqrt(2 * 4), rel=0.03)
    assert float(model.decoder.blocks[2].cross.kv.weight.detach().std()) == pytest.approx(
        0.02, rel=0.03
    )

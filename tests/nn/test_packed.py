"""Packed blocks against plain ones: the same answers within the precision of bf16."""

import copy
from dataclasses import replace

import pytest
import torch

from headstart.families import bert, build_model, gpt, llama, marian, modern, t5
from headstart.nn import LoRALinear, add_lora
from headstart.nn.packed import PackedBlock, PackedLinear, can_pack, pack
from layouts import in_order, packed, padded, ragged, two_streams

SIZES = {"num_layers": 3, "hidden_size": 64, "num_heads": 4, "vocab_size": 60, "max_positions": 40}
TEXTS = ragged((9, 3, 14, 1, 6))
WINDOWS = {"window": 4, "global_every": 2, "local_rope_theta": 500.0}
KINDS = {
    "bert": bert.build(**SIZES).config,
    "gpt": gpt.build(**SIZES).config,
    "modern": modern.build(**SIZES).config,
    "modern with windows": replace(modern.build(**SIZES).config, **WINDOWS),
    "without bias": replace(gpt.build(**SIZES).config, bias=False, norm="rms"),
    "llama with grouped heads": replace(llama.build(**SIZES).config, num_kv_heads=2),
    "t5's encoder": replace(t5.build(**SIZES).config, decoder_layers=0),
}


def model_of(kind):
    model = build_model(KINDS[kind], family="bert").eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def half(model):
    """A copy in bf16 that can be packed."""
    ready = copy.deepcopy(model).bfloat16()
    if not can_pack(ready.stack):
        pytest.skip("this processor or this torch has no packed products in bf16")
    return ready


@torch.inference_mode()
def states(model, layout=packed):
    batch = layout(TEXTS)
    return in_order(model.encode(batch), batch).float()


@pytest.mark.parametrize("layout", [packed, padded])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_blocks_err_no_more_than_plain_ones_in_bf16(kind, layout):
    model = model_of(kind)
    exact, rounded = states(model, layout), half(model)
    plain = (states(rounded, layout) - exact).square().mean().sqrt()
    pack(rounded.stack)
    assert all(isinstance(block, PackedBlock) for block in rounded.stack.blocks)
    packed_ = (states(rounded, layout) - exact).square().mean().sqrt()
    assert 0 < packed_ <= 1.5 * plain
    assert packed_ < 0.05 * exact.square().mean().sqrt()


def test_adapters_are_packed_with_the_weights_that_they_change():
    model = model_of("bert")
    without = states(model)
    add_lora(model.stack.blocks, ["0.attention.qkv", "1.mlp.down"], rank=2)
    for part in model.modules():
        if isinstance(part, LoRALinear):
            torch.nn.init.constant_(part.lora_up, 0.1)
    expected = states(model)
    assert (expected - without).abs().max() > 0.1
    if not can_pack(model.stack):
        pytest.skip("this torch has no packed products")
    pack(model.stack)
    assert (states(model) - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("kind", ["bert", "modern"])
@pytest.mark.parametrize("change", ["order", "residual"])
def test_another_order_of_blocks_or_a_lost_residual_shows(kind, change, monkeypatch):
    model = model_of(kind)
    exact, rounded = states(model), half(model)
    original = copy.deepcopy(rounded)
    pack(rounded.stack)
    right = (states(rounded) - exact).square().mean().sqrt()
    if change == "order":
        blocks = rounded.stack.blocks
        blocks[0], blocks[2] = blocks[2], blocks[0]
    else:
        call = PackedLinear.forward
        monkeypatch.setattr(
            PackedLinear, "forward", lambda self, x, onto=None, **how: call(self, x, **how)
        )
        rounded = original
        pack(rounded.stack)
    wrong = (states(rounded) - exact).square().mean().sqrt()
    assert wrong > 5 * right


def test_a_packed_linear_is_the_plain_one_with_the_residual_added():
    generator = torch.Generator().manual_seed(0)
    plain = torch.nn.Linear(64, 48)
    x = torch.randn(5000, 64, generator=generator)  # more rows than it was laid out for
    onto = torch.randn(5000, 48, generator=generator)
    half(model_of("bert"))  # skips where there is nothing to pack with
    made = PackedLinear.of(copy.deepcopy(plain).bfloat16())
    with torch.inference_mode():
        for given, rest in ((None, 0), (onto, onto)):
            expected = plain(x) + rest
            found = made(x.bfloat16(), None if given is None else given.bfloat16()).float()
            assert (found - expected).abs().max() < 0.02 * expected.abs().max()


def test_every_state_is_the_same_after_packing_not_only_the_last():
    model = model_of("modern")
    batch = padded(TEXTS)
    rounded = half(model)
    with torch.inference_mode():
        before = model.hidden_states(batch)
        pack(rounded.stack)
        after = rounded.hidden_states(batch)
    assert len(after) == len(before) == 4
    for one, other in zip(before, after, strict=True):
        assert (one - other.float()).square().mean() < 1e-3 * one.square().mean()


@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_packed_blocks_give_the_states_that_alone_are_asked_for(kind):
    ready, batch, at = half(model_of(kind)), packed(TEXTS), torch.tensor([5, 0, 9])
    pack(ready.stack)
    with torch.inference_mode():
        whole, found = (ready.encode(batch, at=some).float() for some in (None, at))
    assert (found - whole[at]).abs().max() <= 0.02 * whole.abs().max()
    assert (found - whole[at.flip(0)]).abs().max() > 0.2 * whole.abs().max()


def test_only_plain_blocks_in_a_packed_format_can_be_packed():
    model = model_of("bert")
    assert not can_pack(copy.deepcopy(model).double().stack)
    rounded = half(model)
    assert can_pack(rounded.stack)
    pack(rounded.stack)
    assert not can_pack(rounded.stack)


@pytest.mark.parametrize("layout", [packed, padded])
@pytest.mark.parametrize("kind", KINDS)
def test_in_fp32_packed_blocks_give_what_plain_ones_give(kind, layout):
    model = model_of(kind)
    if not can_pack(model.stack):
        pytest.skip("this torch has no packed products")
    exact = states(model, layout)
    pack(model.stack)
    assert (states(model, layout) - exact).abs().max() <= 1e-5 * exact.abs().max()
    blocks = model.stack.blocks
    blocks[0], blocks[2] = blocks[2], blocks[0]
    assert (states(model, layout) - exact).abs().max() > 1e-2 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", [t5, marian], ids=["t5", "marian"])
def test_a_packed_decoder_that_looks_at_an_encoder_gives_the_same(family, dtype):
    model = build_model(family.build(**SIZES).config, family="t5").eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    exact = family_states(model)
    ready = copy.deepcopy(model).to(dtype)
    if not can_pack(ready.decoder):
        pytest.skip("this processor or this torch has no packed products in this format")
    plain = family_states(ready)
    for stack in (ready.stack, ready.decoder):
        pack(stack)
    assert all(isinstance(block, PackedBlock) for block in ready.decoder.blocks)
    found = family_states(ready)
    most = 1e-5 if dtype == torch.float32 else 0.03
    assert (found - exact).abs().max() <= most * exact.abs().max()
    assert (plain - exact).abs().max() <= most * exact.abs().max()
    blocks = ready.decoder.blocks
    blocks[0], blocks[2] = blocks[2], blocks[0]
    assert (family_states(ready) - exact).abs().max() > 2 * most * exact.abs().max()


@torch.inference_mode()
def family_states(model):
    """What a decoder says of two tokens each, the second by its cache, and of texts without one."""
    sources = padded(TEXTS)
    cache = model.new_cache(sequences=5, room=3)
    first, second = (padded(ragged((1,) * 5, seed=seed)) for seed in (1, 2))
    batch = two_streams(sources, first)
    states = [in_order(model.decode(batch, model.encode(batch), cache), first)]
    states.append(in_order(model.decode(two_streams(sources, second), None, cache), second))
    texts = packed(ragged((4, 1, 6, 2, 3), seed=3))
    both = two_streams(sources, texts)
    states.append(in_order(model.decode(both, model.encode(both)), texts))
    return torch.cat(states).float()

from dataclasses import replace

import numpy as np
import pytest
import torch

from headstart.families import bert, build_model, gpt, llama, modern, reformer, t5
from headstart.nn import TransformerConfig
from headstart.nn.rotary_scaling import RotaryScaling
from layouts import alone, in_order, packed, padded, ragged, two_streams

SIZES = {"num_layers": 3, "hidden_size": 24, "num_heads": 2, "vocab_size": 60, "max_positions": 40}
TEXTS = ragged((9, 3, 14, 1, 6))


def kinds():
    windows = {"window": 4, "global_every": 2, "local_rope_theta": 500.0}
    return {
        "bert": bert.build(**SIZES).config,
        "gpt": gpt.build(**SIZES).config,
        "modern": modern.build(**SIZES).config,
        "modern with windows": replace(modern.build(**SIZES).config, **windows),
        "llama with grouped heads": replace(llama.build(**SIZES).config, num_kv_heads=1),
        "t5's encoder": replace(t5.build(**SIZES).config, decoder_layers=0),
        "rms, sinusoids, no final norm": replace(
            gpt.build(**SIZES).config, norm="rms", position="sinusoidal", final_norm=False
        ),
    }


def model_of(config: TransformerConfig) -> torch.nn.Module:
    model = build_model(config, family="bert").double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * 0.1)
    return model


@pytest.mark.parametrize("kind", list(kinds()))
@pytest.mark.parametrize("training", [False, True])
def test_packed_rows_give_the_same_hidden_states_as_padded_ones_and_as_each_text_alone(
    kind, training
):
    model = model_of(kinds()[kind])
    with torch.set_grad_enabled(training):  # with gradients the explicit products are used
        apart = torch.cat([in_order(model.encode(batch), batch) for batch in alone(TEXTS)])
        for layout in (packed, padded):
            batch = layout(TEXTS)
            together = in_order(model.encode(batch), batch)
            assert together.abs().max() > 0.5
            assert (together - apart).abs().max() <= 1e-12


@pytest.mark.parametrize("kind", list(kinds()))
def test_packed_rows_give_the_same_gradients_as_padded_ones(kind):
    grads = []
    for layout in (packed, padded):
        model, batch = model_of(kinds()[kind]), layout(TEXTS)
        in_order(model.encode(batch), batch).square().sum().backward()
        grads.append([weight.grad for weight in model.parameters() if weight.grad is not None])
    assert len(grads[0]) >= 20
    for one, other in zip(*grads, strict=True):
        assert (one - other).abs().max() <= 1e-9 * max(1.0, float(one.abs().max()))


def test_a_neighbour_in_the_row_is_seen_if_the_layout_says_it_is_the_same_text():
    model, batch = model_of(kinds()["modern"]), packed(TEXTS)
    layout = batch.layout["tokens"]
    before = in_order(model.encode(batch), batch)
    joined = torch.where(layout.sequence == 2, 0, layout.sequence)
    batch.layout["tokens"] = replace(layout, sequence=joined)
    assert (in_order(model.encode(batch), batch) - before).abs().max() > 1e-3


def test_padding_has_no_influence_whatever_its_ids_are():
    model, batch = model_of(kinds()["modern with windows"]), padded(TEXTS)
    before = in_order(model.encode(batch), batch)
    batch.inputs["tokens"][batch.layout["tokens"].sequence < 0] = 17
    assert torch.equal(in_order(model.encode(batch), batch), before)


def test_local_layers_do_not_see_beyond_the_window():
    config = replace(kinds()["modern with windows"], num_layers=2)
    model, texts = model_of(config), ragged((20,))
    # layer 0 is global; without its attention only layer 1 (2 to each side) mixes tokens
    with torch.no_grad():
        model.stack.blocks[0].attention.out.weight.zero_()
    other = ragged((20,))
    other.tokens[10] = (texts.tokens[10] + 1) % 60
    one, two = (model.encode(padded(t)) for t in (texts, other))
    changed = (one - two).abs().amax(1) > 1e-9
    assert np.flatnonzero(changed.numpy()).tolist() == [8, 9, 10, 11, 12]


@pytest.mark.parametrize("muted", [0, 1])
def test_rotary_positions_are_scaled_in_global_layers_alone(muted):
    config = replace(kinds()["modern with windows"], num_layers=2, local_rope_theta=10_000.0)
    scaling = RotaryScaling(kind="linear", factor=4.0)
    found = []
    for scaled in (config, replace(config, rope_scaling=scaling)):
        model = model_of(scaled)
        with torch.no_grad():  # layer 0 is global, layer 1 is local: one of them mixes tokens
            model.stack.blocks[muted].attention.out.weight.zero_()
            found.append(model.encode(packed(TEXTS)))
    assert torch.equal(*found) == (muted == 0)


def test_a_causal_stack_sees_only_what_came_before():
    model, texts, other = model_of(kinds()["gpt"]), ragged((20,)), ragged((20,))
    other.tokens[10] = (texts.tokens[10] + 1) % 60
    one, two = (model.encode(padded(t)) for t in (texts, other))
    changed = (one - two).abs().amax(1) > 1e-9
    assert np.flatnonzero(changed.numpy()).tolist() == list(range(10, 20))


def test_there_is_one_hidden_state_more_than_blocks_and_the_last_is_the_encoding():
    model, batch = model_of(kinds()["gpt"]), packed(TEXTS)
    states = model.hidden_states(batch)
    assert len(states) == 4
    assert torch.equal(states[-1], model.encode(batch))


def model_and_batch(kind: str):
    """A model of a kind, a packed batch, and the name of the stream whose states it gives."""
    if kind == "reformer":
        sizes = {**SIZES, "num_layers": 2}
        return reformer.build(**sizes, seed=3).double(), padded(TEXTS), "tokens"
    if kind == "decoder":
        written = packed(ragged((4, 2, 5, 3, 6), seed=1))
        batch = two_streams(packed(TEXTS), written)
        return model_of(t5.build(**SIZES).config), batch, "decoder_tokens"
    return model_of(kinds()[kind]), packed(TEXTS), "tokens"


def some_slots(batch, stream: str, share: float) -> torch.Tensor:
    """Some of the stream's tokens, out of order, one of them twice."""
    tokens = torch.nonzero(batch.layout[stream].sequence >= 0).flatten()
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(2))
    picked = tokens[order][: max(2, round(share * len(tokens)))]
    return torch.cat([picked, picked[:1]])


def states_and_gradients(kind: str, share: float, *, asked: bool) -> list[torch.Tensor]:
    model, batch, stream = model_and_batch(kind)
    slots = some_slots(batch, stream, share)
    at = slots if asked else None
    states = model.encode(batch) if stream == "decoder_tokens" else model.encode(batch, at=at)
    if stream == "decoder_tokens":
        states = model.decode(batch, states, at=at)
    states = states if asked else states[slots]
    (states * torch.arange(1.0, len(slots) + 1)[:, None]).square().sum().backward()
    return [states.detach(), *(w.grad for w in model.parameters() if w.grad is not None)]


@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize("kind", [*kinds(), "reformer", "decoder"])
def test_states_that_are_asked_for_alone_are_those_among_all_with_the_same_gradients(kind, share):
    found, right = (states_and_gradients(kind, share, asked=asked) for asked in (True, False))
    assert len(found) == len(right) > 20
    for one, other in zip(found, right, strict=True):
        assert (one - other).abs().max() <= 1e-9 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_of_the_last_block_no_more_is_computed_than_is_asked_for(kind):
    model, batch, stream = model_and_batch(kind)
    at, rows = some_slots(batch, stream, 0.2), []
    for block in model.stack.blocks:
        block.mlp.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    model.encode(batch, at=at)
    whole = len(batch.inputs["tokens"])
    assert rows == [whole, whole, len(at)]

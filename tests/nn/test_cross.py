from dataclasses import replace

import pytest
import torch

from headstart.families import marian, t5
from headstart.nn import Memory, TransformerConfig
from headstart.nn.cross import CrossAttention, Seen
from headstart.nn.mask import crossings
from layouts import alone, in_order, lay, packed, padded, ragged, two_streams

SIZES = {"num_layers": 2, "hidden_size": 24, "num_heads": 3, "vocab_size": 60, "max_positions": 40}
SOURCES = ragged((9, 3, 14, 1, 6))
TARGETS = ragged((2, 5, 4, 8, 1), seed=1)
FAMILIES = {"t5": t5, "marian": marian}


def model_of(family):
    model = family.build(**SIZES).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * 0.1)
    return model


def decoded(model, batch):
    return in_order(model.decode(batch, model.encode(batch)), batch, stream="decoder_tokens")


def test_one_query_and_two_keys_by_hand():
    config = TransformerConfig(
        vocab_size=5, hidden_size=4, num_layers=1, num_heads=1, intermediate_size=4, bias=False
    )
    cross = CrossAttention(config).double()
    with torch.no_grad():
        cross.q.weight.copy_(torch.eye(4))
        cross.kv.weight.copy_(torch.cat([torch.eye(4), 2 * torch.eye(4)]))
        cross.out.weight.copy_(torch.eye(4))
    three = torch.log(torch.tensor(3.0, dtype=torch.float64))
    memory = torch.tensor([[0.0, 1, 0, 0], [0, 0, 0, 0]]).double()
    memory[1, 0] = 2 * three
    x = torch.tensor([[1.0, 0, 0, 0]]).double()
    target, source = padded(ragged((1,))).layout["tokens"], padded(ragged((2,))).layout["tokens"]
    seen = Seen(memory, crossings(target, source, dtype=x.dtype))
    # scores 0 and 2 ln 3 / 2: weights 1/4 and 3/4 of values (0, 2, 0, 0) and (4 ln 3, 0, 0, 0)
    assert cross(x, seen)[0].tolist() == pytest.approx([3 * float(three), 0.5, 0, 0])


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("training", [False, True])
def test_packed_streams_give_the_same_states_as_padded_ones_and_as_each_pair_alone(name, training):
    model = model_of(FAMILIES[name])
    with torch.set_grad_enabled(training):
        pairs = zip(alone(SOURCES), alone(TARGETS), strict=True)
        apart = torch.cat([decoded(model, two_streams(*pair)) for pair in pairs])
        for source in (packed, padded):
            for target in (packed, padded):
                together = decoded(model, two_streams(source(SOURCES), target(TARGETS)))
                assert together.abs().max() > 0.5
                assert (together - apart).abs().max() <= 1e-12


@pytest.mark.parametrize("name", list(FAMILIES))
def test_packed_streams_give_the_same_gradients_as_padded_ones(name):
    grads = []
    for layout in (packed, padded):
        model, batch = model_of(FAMILIES[name]), two_streams(layout(SOURCES), layout(TARGETS))
        decoded(model, batch).square().sum().backward()
        grads.append([weight.grad for weight in model.parameters()])
    for one, other in zip(*grads, strict=True):
        assert one.abs().max() > 1e-6
        assert (one - other).abs().max() <= 1e-9 * max(1.0, float(one.abs().max()))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_text_is_decoded_from_its_own_memory_alone(name):
    model, other = model_of(FAMILIES[name]), ragged((9, 3, 14, 1, 6))
    other.tokens[10] = (SOURCES.tokens[10] + 1) % 60  # in the second source
    one, two = (decoded(model, two_streams(packed(s), packed(TARGETS))) for s in (SOURCES, other))
    changed = (one - two).abs().amax(1) > 1e-9
    assert changed.tolist() == [False] * 2 + [True] * 5 + [False] * 13


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_decoder_sees_only_what_came_before(name):
    model, other = model_of(FAMILIES[name]), ragged((20,), seed=1)
    texts = ragged((20,), seed=1)
    other.tokens[10] = (texts.tokens[10] + 1) % 60
    one, two = (
        decoded(model, two_streams(padded(ragged((7,))), padded(t))) for t in (texts, other)
    )
    changed = (one - two).abs().amax(1) > 1e-9
    assert changed.tolist() == [False] * 10 + [True] * 10


def test_sequences_of_similar_length_share_a_group():
    lengths = (40, 3, 21, 2, 9, 19)
    source, target = padded(ragged(lengths)).layout["tokens"], padded(ragged((4,) * 6))
    found = crossings(target.layout["tokens"], source, dtype=torch.float32)
    # 40 and 21 are within a factor of two, then 19, then 9 is less than half of 19, then 3 and 2
    assert [tuple(group.keys.shape) for group in found.groups] == [(2, 40), (1, 19), (1, 9), (2, 3)]
    assert sorted(found.back.tolist()) == list(range(24))


def test_a_cross_stack_without_memory_is_refused():
    model, batch = model_of(t5), two_streams(packed(SOURCES), packed(TARGETS))
    with pytest.raises(AssertionError, match="needs a memory"):
        model.decode(batch)


def test_streams_of_unequal_numbers_of_texts_are_refused():
    model = model_of(t5)
    batch = two_streams(packed(SOURCES), lay(ragged((3, 3)), rows=[[0, 1]]))
    with pytest.raises(AssertionError, match="the same sequences"):
        model.decode(batch, model.encode(batch))


def test_grouped_heads_are_shared_keys_and_values():
    config = TransformerConfig(
        vocab_size=60, hidden_size=24, num_layers=1, num_heads=6, intermediate_size=8, cross=True
    )
    generator = torch.Generator().manual_seed(0)
    grouped = CrossAttention(replace(config, num_kv_heads=2)).double()
    whole = CrossAttention(config).double()
    for weight in grouped.parameters():
        torch.nn.init.normal_(weight, generator=generator)
    with torch.no_grad():
        for part in ("weight", "bias"):
            for name in ("q", "out"):
                theirs = getattr(getattr(grouped, name), part)
                getattr(getattr(whole, name), part).copy_(theirs)
            shared = getattr(grouped.kv, part).view(2, 2, 4, -1)
            getattr(whole.kv, part).copy_(
                shared.repeat_interleave(3, 1).reshape(getattr(whole.kv, part).shape)
            )
    batch = two_streams(packed(SOURCES), packed(TARGETS))
    layouts = batch.layout["decoder_tokens"], batch.layout["tokens"]
    x = torch.randn(len(layouts[0].positions), 24, generator=generator).double()
    memory = torch.randn(len(layouts[1].positions), 24, generator=generator).double()
    seen = Seen(memory, crossings(*layouts, dtype=x.dtype))
    for training in (False, True):
        with torch.set_grad_enabled(training):
            mine, theirs = grouped(x, seen), whole(x, seen)
        assert mine.abs().max() > 0.5
        assert (mine - theirs).abs().max() <= 1e-12
    assert isinstance(Memory(memory, layouts[1]), Memory)

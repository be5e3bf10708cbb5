import math
from dataclasses import replace

import pytest
import torch

from headstart.families import build_model, reformer
from headstart.nn.chunks import Chunked, make_grid, neighbours
from headstart.nn.long_range import Chunking, LongRange
from headstart.nn.lsh import LSHAttention, attend_alike, hash_vectors, sort_places, unit
from layouts import alone, in_order, packed, padded, ragged

HEADS, DIM = 2, 6
TEXTS = ragged((13, 3, 26, 1, 8))


def vectors(count, *, seed=0, heads=HEADS, dim=DIM):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, heads, dim, generator=generator).double() for _ in range(2)]


def rotations(*, rounds=1, buckets=4, seed=0, heads=HEADS, dim=DIM):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(heads, dim, rounds, buckets // 2, generator=generator)


def one_sequence(count, *, length, before=1, after=0, rounds=1, causal=False):
    """A single sequence of whole chunks."""
    grid = make_grid(
        padded(ragged((count,))).layout["tokens"], torch.tensor([count]), length=length
    )
    near = neighbours(grid, rounds=rounds, before=before, after=after)
    return Chunked(grid, near, causal)


def dense(qk, value, allowed):
    """Attention of all to all with shared queries and keys, written out; allowed: (T, T)."""
    q, v = qk.transpose(0, 1), value.transpose(0, 1)
    k = q / (q.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~allowed, -1e9)
    scores = scores.masked_fill(torch.eye(len(qk), dtype=torch.bool), -1e5)
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("chunks", "before", "after"), [(1, 1, 0), (2, 1, 0), (3, 2, 0), (3, 1, 1)]
)
def test_where_each_chunk_sees_all_chunks_hashing_changes_nothing(chunks, before, after, causal):
    count = 8 * chunks
    qk, value = vectors(count)
    chunked = one_sequence(count, length=8, before=before, after=after, causal=causal)
    allowed = torch.ones(count, count, dtype=torch.bool)
    expected = dense(qk, value, allowed.tril() if causal else allowed)
    for seed in range(3):
        out = attend_alike(qk, value, chunked, rotations(seed=seed), (4,))
        assert (out - expected).abs().max() <= 1e-12


def test_a_text_of_one_chunk_is_attended_to_in_full_however_many_rounds():
    qk, value = vectors(8)
    chunked = one_sequence(8, length=8, rounds=3)
    expected = dense(qk, value, torch.ones(8, 8, dtype=torch.bool))
    out = attend_alike(qk, value, chunked, rotations(rounds=3), (4,))
    assert (out - expected).abs().max() <= 1e-12


def test_with_one_bucket_tokens_stay_in_their_order_and_see_nearby_chunks():
    # a turn to zero puts every vector into bucket 0; four chunks, each sees itself and the last
    qk, value = vectors(32)
    chunk = torch.arange(32) // 8
    allowed = ((chunk[:, None] - chunk[None, :]) % 4) <= 1
    out = attend_alike(qk, value, one_sequence(32, length=8), rotations() * 0, (4,))
    assert (out - dense(qk, value, allowed)).abs().max() <= 1e-12
    other = attend_alike(qk, value, one_sequence(32, length=8), rotations(), (4,))
    assert (other - out).abs().max() > 0.1


def test_more_rounds_come_nearer_to_attending_to_everything():
    # 16 bundles of 8 vectors that point almost the same way, scattered over the text
    generator = torch.Generator().manual_seed(0)
    bundles = torch.randn(16, 1, 16, generator=generator).double() * 3
    qk = bundles[torch.randperm(128, generator=generator) % 16]
    qk = qk + 0.5 * torch.randn(qk.shape, generator=generator).double()
    value = torch.randn(128, 1, 16, generator=generator).double()
    full = dense(qk, value, torch.ones(128, 128, dtype=torch.bool))
    errors = []
    for rounds in (1, 4, 16):
        turns = rotations(rounds=rounds, buckets=16, heads=1, dim=16)
        out = attend_alike(qk, value, one_sequence(128, length=16, rounds=rounds), turns, (16,))
        errors.append(float((out - full).norm() / full.norm()))
    assert errors[0] > 2 * errors[2]
    assert errors[0] > errors[1] > errors[2]


def test_tokens_see_those_that_hash_alike_wherever_they_stand():
    # vectors along two axes in turn, chunks of 4 that see only themselves: each sees its own axis
    qk = torch.zeros(8, 1, 2).double()
    qk[::2, 0, 0], qk[1::2, 0, 1] = 5.0, 5.0
    value = torch.arange(8).double().view(8, 1, 1).expand(8, 1, 2)
    chunked = one_sequence(8, length=4, before=0)
    out = attend_alike(qk, value, chunked, torch.eye(2).view(1, 2, 1, 2), (4,))
    even = [(0 + 2 + 4 + 6 - n) / 3 for n in (0, 2, 4, 6)]  # the mean of the other three
    odd = [(1 + 3 + 5 + 7 - n) / 3 for n in (1, 3, 5, 7)]
    assert out[::2, 0].tolist() == pytest.approx(even)
    assert out[1::2, 0].tolist() == pytest.approx(odd)


def test_a_first_token_that_may_see_nothing_else_sees_itself():
    qk, value = vectors(8)
    out = attend_alike(qk, value, one_sequence(8, length=8, causal=True), rotations(), (4,))
    assert torch.equal(out[0], value[0].flatten())


def test_hashing_asks_for_the_nearest_axis_and_its_sign():
    turns = torch.eye(3).view(1, 3, 1, 3)
    x = torch.tensor([[5.0, 1, 1], [0, -3, 1], [1, 2, 9], [10, 2, 2]]).view(4, 1, 3)
    assert hash_vectors(x, turns, (6,)).flatten().tolist() == [0, 4, 2, 0]
    assert hash_vectors(-x, turns, (6,)).flatten().tolist() == [3, 1, 5, 3]


def test_two_factors_of_buckets_make_one_number():
    # the first factor of 2 asks for the sign of one axis, the second of 4 for two others
    turns = torch.eye(3).view(1, 3, 1, 3)
    x = torch.tensor([[1.0, 2, 0], [-1, 2, 0], [1, 0, 2], [-1, 0, -2]]).view(4, 1, 3)
    assert hash_vectors(x, turns, (2, 4)).flatten().tolist() == [0, 1, 2, 1 + 2 * 3]


def test_places_are_sorted_within_their_sequence_and_free_ones_come_last():
    layout = padded(ragged((3, 2))).layout["tokens"]
    grid = make_grid(layout, torch.tensor([4, 2]), length=4)
    buckets = torch.tensor([1, 0, 1, 1, 0, 0]).view(1, 1, 6)  # the last slot is padding
    assert sort_places(buckets, grid, count=2).tolist() == [[[1, 0, 2, 3, 5, 4, 6, 7]]]


def test_keys_have_unit_mean_square():
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    assert unit(x)[0].tolist() == pytest.approx([3 / 12.5**0.5, 4 / 12.5**0.5], abs=1e-6)


def settings(**changes):
    return LongRange(
        attn_layers=("local", "lsh", "lsh"),
        local=Chunking(length=6),
        lsh=Chunking(length=4),
        num_buckets=(4,),
        num_hashes=2,
        hash_seed=3,
        **changes,
    )


def model_of(*, causal=False, **changes):
    plain = reformer.build(
        num_layers=3, hidden_size=24, num_heads=2, vocab_size=60, max_positions=40
    ).config
    config = replace(plain, causal=causal, long_range=replace(settings(), **changes))
    model = build_model(config, family="reformer").double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * 0.1)
    return model.eval()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_packed_rows_give_the_same_states_as_padded_ones_and_as_each_text_alone(causal, training):
    model = model_of(causal=causal)
    with torch.set_grad_enabled(training):
        apart = torch.cat([in_order(model.encode(batch), batch) for batch in alone(TEXTS)])
        assert apart.shape == (51, 48)
        for layout in (packed, padded):
            batch = layout(TEXTS)
            together = in_order(model.encode(batch), batch)
            assert together.abs().max() > 0.5
            assert (together - apart).abs().max() <= 1e-11


def test_a_later_token_changes_nothing_before_it_in_its_own_chunk_layers():
    # tokens after a place change which tokens share its chunk, but never what local layers show it
    model = model_of(causal=True, attn_layers=("local", "local", "local"))
    texts = ragged((20,))
    before = in_order(model.encode(padded(texts)), padded(texts))
    texts.tokens[13] = 5 if texts.tokens[13] != 5 else 6
    after = in_order(model.encode(padded(texts)), padded(texts))
    assert torch.equal(before[:13], after[:13])
    assert (before[13] - after[13]).abs().max() > 1e-3


def test_fixed_rotations_are_always_the_same_and_free_ones_only_in_use():
    def two(part):
        return part.draw_rotations(), part.draw_rotations()

    config = model_of().config
    fixed = LSHAttention(config)
    free = LSHAttention(replace(config, long_range=replace(config.long_range, hash_seed=None)))
    for part in (fixed.train(), fixed.eval(), free.eval()):
        one, other = two(part)
        assert torch.equal(one, other)
        assert one.shape == (2, 12, 2, 2)
    one, other = two(free.train())
    assert not torch.equal(one, other)


def test_given_rotations_are_used_and_others_change_the_result():
    part = model_of().stack.blocks[1].attention
    layout = padded(ragged((24,))).layout["tokens"]
    grid = make_grid(layout, torch.tensor([24]), length=4)
    chunked = Chunked(grid, neighbours(grid, rounds=2, before=1, after=0), False)
    x = torch.randn(24, 24, generator=torch.Generator().manual_seed(2)).double()
    own = part(x, chunked)
    assert torch.equal(part(x, chunked, part.draw_rotations()), own)
    assert (part(x, chunked, part.draw_rotations().flip(-1, 0)) - own).abs().max() > 1e-3

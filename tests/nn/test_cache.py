from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from headstart.batch import Sequences
from headstart.families import build_model, gpt, llama, marian, t5
from headstart.nn import Cache
from layouts import in_order, packed, padded, ragged, two_streams

SIZES = {"num_layers": 2, "hidden_size": 24, "num_heads": 6, "vocab_size": 60, "max_positions": 40}
SOURCES = ragged((9, 3, 14, 1, 6))
TARGETS = ragged((7, 5, 9, 8, 4), seed=1)
FAMILIES = {"gpt": gpt, "llama": llama, "t5": t5, "marian": marian}
TWO = ("t5", "marian")


def model_of(name):
    model = FAMILIES[name].build(**SIZES)
    if name == "llama":
        config = replace(model.config, num_kv_heads=2)
        model = build_model(config, family="llama", style=model.style)
    generator = torch.Generator().manual_seed(1)
    model = model.double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * 0.1)
    return model.eval()


def cut(texts, begin, end):
    """Tokens begin to end of each text."""
    pieces = [
        texts.tokens[start : start + length][begin:end]
        for start, length in zip(texts.starts, texts.lengths, strict=True)
    ]
    lengths = np.array([len(piece) for piece in pieces])
    return Sequences(np.concatenate(pieces), lengths, np.arange(len(pieces)))


def batch_of(name, targets, *, sources=SOURCES, layout=packed):
    return two_streams(packed(sources), layout(targets)) if name in TWO else layout(targets)


def states(name, model, batch, memory=None, cache=None):
    stream = "decoder_tokens" if name in TWO else "tokens"
    found = in_order(model.decode(batch, memory, cache), batch, stream=stream)
    return list(found.split(batch.layout[stream].lengths.tolist()))


def whole(name, model, targets=TARGETS, sources=SOURCES):
    batch = batch_of(name, targets, sources=sources)
    return states(name, model, batch, model.encode(batch) if name in TWO else None)


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("pieces", [(0, 1, 2, 3, 4), (0, 3, 4), (0, 2, 20)])
@torch.no_grad()
def test_decoding_piece_by_piece_gives_the_same_states_as_all_at_once(name, pieces):
    model, texts = model_of(name), cut(TARGETS, 0, pieces[-1])
    expected = whole(name, model, texts)
    cache = model.new_cache(sequences=5, room=int(texts.lengths.max()))
    found = [[] for _ in range(5)]
    for begin, end in pairwise(pieces):
        batch = batch_of(name, cut(texts, begin, end))
        memory = model.encode(batch) if name in TWO and begin == 0 else None
        for mine, part in zip(found, states(name, model, batch, memory, cache), strict=True):
            mine.append(part)
    assert cache.lengths.tolist() == texts.lengths.tolist()
    for mine, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 0.5
        assert (torch.cat(mine) - theirs).abs().max() <= 1e-12


@pytest.mark.parametrize("name", list(FAMILIES))
@torch.no_grad()
def test_sequences_can_be_chosen_repeated_and_dropped_between_calls(name):
    model, which = model_of(name), [3, 0, 0, 4]
    cache = model.new_cache(sequences=5, room=12)
    first = batch_of(name, cut(TARGETS, 0, 3))
    states(name, model, first, model.encode(first) if name in TWO else None, cache)
    cache.select(torch.tensor(which))
    chosen = TARGETS.take(np.array(which))
    split = chosen.starts[2] + 3  # here the two copies part ways
    chosen.tokens[split] = (chosen.tokens[split] + 1) % 60
    rest = batch_of(name, cut(chosen, 3, 20), sources=SOURCES.take(np.array(which)))
    found = states(name, model, rest, None, cache)
    expected = whole(name, model, chosen, SOURCES.take(np.array(which)))
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine - theirs[3:]).abs().max() <= 1e-12
    assert (found[1] - found[2]).abs().max() > 1e-3


@torch.no_grad()
def test_beams_of_one_text_share_its_memory():
    model = model_of("t5")
    cache = model.new_cache(sequences=5, room=4)
    first = batch_of("t5", cut(TARGETS, 0, 2))
    states("t5", model, first, model.encode(first), cache)
    cache.select(torch.tensor([0, 0, 1, 1]))
    before = cache.memory[0]
    cache.select(torch.tensor([1, 0, 3, 3]))
    assert cache.memory[0] is before
    cache.select(torch.tensor([2, 0, 3, 3]))
    assert torch.equal(cache.memory[0][:, 0], before[:, 2])


@pytest.mark.parametrize("name", ["gpt", "llama"])
@torch.no_grad()
def test_a_common_beginning_stays_where_it_is(name):
    model, rows = model_of(name), TARGETS.take(np.zeros(3, dtype=np.int64))
    rows.tokens[rows.starts[1] + 4] = 7  # from here on the second text is another
    rows.tokens[rows.starts[2] + 4] = 8
    found = []
    for common in (0, 4, 5):
        cache = model.new_cache(sequences=3, room=9)
        states(name, model, packed(cut(rows, 0, 5)), cache=cache)
        cache.select(torch.tensor([1, 1]), common=common)
        chosen = rows.take(np.array([1, 1]))
        rest = packed(cut(chosen, 5, 20))
        found.append(torch.cat(states(name, model, rest, cache=cache)))
    expected = torch.cat([part[5:] for part in whole(name, model, chosen)])
    assert (found[0] - expected).abs().max() <= 1e-12
    assert torch.equal(found[0], found[1])
    assert (found[2] - expected).abs().max() > 1e-3  # the fifth token differs


@torch.no_grad()
def test_a_cache_of_another_text_shows_in_the_states():
    model = model_of("llama")
    other = cut(TARGETS, 0, 3)
    other.tokens[0] = (other.tokens[0] + 1) % 60
    found = []
    for start in (cut(TARGETS, 0, 3), other):
        cache = model.new_cache(sequences=5, room=12)
        model.decode(packed(start), cache=cache)
        found.append(states("llama", model, packed(cut(TARGETS, 3, 20)), cache=cache))
    assert (found[0][0] - found[1][0]).abs().max() > 1e-3
    for mine, theirs in zip(found[0][1:], found[1][1:], strict=True):
        assert torch.equal(mine, theirs)


@torch.no_grad()
def test_a_full_cache_says_how_much_is_needed():
    model = model_of("gpt")
    cache = model.new_cache(sequences=5, room=8)
    with pytest.raises(ValueError, match=r"^the cache has room for 8 tokens, but 9 are needed$"):
        model.decode(packed(TARGETS), cache=cache)


def test_a_cache_is_not_for_learning():
    model = model_of("gpt")
    cache = model.new_cache(sequences=5, room=9)
    with pytest.raises(AssertionError, match="a cache is for answering"):
        model.decode(padded(TARGETS), cache=cache)


def test_the_room_is_taken_beforehand():
    # 2 layers, 5 texts, 9 tokens, keys and values of 2 heads of width 4
    cache = model_of("llama").new_cache(sequences=5, room=9)
    assert isinstance(cache, Cache)
    assert cache.store.numel() == 2 * 5 * 9 * 2 * 2 * 4
    assert cache.store.dtype == torch.float64

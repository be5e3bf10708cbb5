"""The scores of language-model runs are right, and alike for both sides."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import transformers

import bits
import corpora
import language_peer
import long_context
from headstart.data.text import train_tokenizer
from headstart.evaluate.likelihood import likelihood
from headstart.families import load_model
from layouts import padded
from parity.compare import save_stock
from real_data import data_dir
from small_tasks import as_sequences, vocabulary

VOCAB, LEAD = 40, 3


def documents(*lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(5, VOCAB, length) for length in lengths]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("gpt")
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=16
    )
    save_stock(transformers.GPT2LMHeadModel(config), place)
    return place


def test_every_token_is_counted_once_after_half_a_window_at_least():
    texts = documents(100, 3, 16, 15, 1, 17)
    reading = bits.read_in_windows(texts, width=16, lead=LEAD, size=1)
    assert np.concatenate(texts).tolist() == reading.tokens[reading.counted].tolist()
    assert not reading.counted[:, 0].any()
    begins = reading.tokens[:, 0] == LEAD  # no text holds it
    assert begins.sum() == len(texts)
    assert reading.counted[~begins].argmax(1).min() == 8


def test_a_model_that_knows_nothing_needs_the_bits_of_a_draw_from_the_vocabulary():
    texts = documents(100, 3, 33)
    reading = bits.read_in_windows(texts, width=16, lead=LEAD, size=500)
    found = bits.bits_per_byte(
        reading, lambda ids: torch.full((len(ids), 15), -np.log(VOCAB)), vocabulary=VOCAB
    )
    assert found == pytest.approx(np.log2(VOCAB) * (100 + 3 + 33) / 500, rel=1e-6)


def test_both_sides_score_the_same_weights_alike_and_as_the_library_does(folder):
    texts = documents(100, 3, 15)
    reading = bits.read_in_windows(texts, width=15, lead=LEAD, size=300)
    stock = transformers.GPT2LMHeadModel.from_pretrained(folder)
    ours = load_model(folder)
    first = bits.bits_per_byte(reading, bits.chances_of_stock(stock), vocabulary=VOCAB)
    second = bits.bits_per_byte(reading, bits.chances_of_ours(ours), vocabulary=VOCAB)
    assert first == pytest.approx(second, abs=1e-5)
    framed = dataclasses.replace(vocabulary(), cls=None, sep=LEAD)
    third = likelihood(ours, as_sequences(texts), framed, max_length=16)
    assert third.tokens.tolist() == [100, 3, 15]
    assert third.bits_per_byte(np.array([100, 100, 100])) == pytest.approx(first, abs=1e-5)
    words = reading.tokens > LEAD  # other tokens cost other bits
    reading.tokens[words] = (reading.tokens[words] - 4) % 35 + 5
    other = bits.bits_per_byte(reading, bits.chances_of_stock(stock), vocabulary=VOCAB)
    assert abs(other - first) > 1e-3


def test_the_peers_blocks_are_whole_stretches_of_the_stream_and_pass_over_all_of_it():
    stream = language_peer.stream_of(documents(100, 50, 7), LEAD)
    assert stream.tolist().count(LEAD) == 3
    assert len(stream) == 160
    places = {tuple(stream[at : at + 8]): at for at in range(len(stream) - 7)}
    batches = language_peer._batches(stream, width=8, count=4, seed=0)
    passes = list(itertools.islice(batches, 5))
    found = [places[tuple(row.tolist())] for batch in passes for row in batch]
    assert len({at % 8 for at in found[:19]}) == 1  # one cut in a pass of 19 or 20 blocks
    assert len(set(found[:19])) == 19


def test_the_peer_learns():
    stream = np.tile(np.arange(5, 13), 60)
    shape = language_peer.Shape(1, 16, 2)
    model = language_peer.fresh(shape, vocabulary=VOCAB, width=16, seed=0)
    done = language_peer.train(
        model, stream, width=16, tokens_a_step=256, seconds=2, rate=2e-2, seed=0
    )
    assert done["loss"] < 1.5 < np.log(VOCAB)
    assert 2 <= done["seconds"] < 4
    assert done["tokens"] == done["steps"] * 16 * 15


def test_a_tokenizer_that_loses_something_of_a_text_is_refused():
    split = corpora.Split(("one text of words",), ("A text.\n\nOf Words",))
    kept = train_tokenizer(split.train, kind="bytes", style="gpt")
    assert split.reading(kept, width=8).size == 17
    lossy = train_tokenizer(split.train, kind="wordpiece", vocab_size=64, style="gpt")
    with pytest.raises(AssertionError, match="the tokenizer loses something of 'A text"):
        split.reading(lossy, width=8)


def test_parts_of_a_corpus_are_the_same_share_of_every_text():
    split = corpora.Split(("a" * 80, "b" * 20), ("c" * 10,)).cut(train=50, held=0)
    assert split.train == ("a" * 40, "b" * 10)
    assert split.held == ("c" * 10,)
    assert corpora.Split(("a" * 100,), ()).tuning() == corpora.Split(("a" * 98,), ("a" * 2,))
    poems = corpora.Split(tuple(map(str, range(1000, 3000))), ()).cut(train=800, held=0)
    assert len(poems.train) == 200


def test_shakespeares_last_tenth_is_held_out():
    data_dir("tiny_shakespeare")
    split = corpora.tiny_shakespeare()
    sizes = split.described()
    assert sizes["train bytes"] + sizes["held-out bytes"] == 1_115_394
    assert 0.09 < sizes["held-out bytes"] / 1_115_394 < 0.11


@torch.no_grad()
def test_full_attention_sees_every_token_before_and_local_attention_does_not():
    network = {"layers": 1, "hidden": 16, "hashes": 2}
    changed = {}
    for kind in ("full", "local"):
        model = long_context.build(network, kind, 256, vocabulary=VOCAB, seed=0).eval()
        states = []
        for first in (5, 6):
            row = np.append(first, documents(199)[0])
            held = as_sequences([row])
            batch = padded(held)
            states.append(model.encode(batch)[:200])
        moved = (states[0] - states[1]).abs().amax(1) > 1e-7
        changed[kind] = moved
    assert changed["full"].float().mean() > 0.9
    assert not changed["local"][128:].any()  # chunks of 64, each sees itself and the one before
    assert changed["local"][:64].any()

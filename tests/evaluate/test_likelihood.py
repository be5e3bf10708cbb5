"""Log-probabilities of texts, against transformers token by token."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import dataclasses

import numpy as np
import pytest
import torch
import transformers

from headstart.errors import InputError
from headstart.evaluate.likelihood import likelihood
from headstart.families import load_model
from parity.compare import save_stock
from small_tasks import as_sequences, vocabulary

VOCAB = 40
FRAMED = vocabulary()
BARE = dataclasses.replace(FRAMED, cls=None, sep=None)
SIZES = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    place = tmp_path_factory.mktemp("gpt")
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=32
    )
    return save_stock(transformers.GPT2LMHeadModel(config), place), load_model(place)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    place = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(**SIZES, intermediate_size=32, max_position_embeddings=32)
    return save_stock(transformers.BertForMaskedLM(config), place), load_model(place)


def texts(*lengths):
    rng = np.random.default_rng(1)
    return as_sequences([rng.integers(5, VOCAB, length) for length in lengths])


def rows(sequences):
    return np.split(sequences.tokens, np.cumsum(sequences.lengths)[:-1])


@torch.no_grad()
def test_a_causal_reading_is_the_sum_that_transformers_computes(gpt):
    stock, ours = gpt
    some = texts(7, 1, 12, 3)
    found = likelihood(ours, some, BARE)
    for number, row in enumerate(rows(some)):
        ids = torch.from_numpy(row)[None].long()
        chances = stock(ids).logits[0].log_softmax(-1)
        expected = chances[:-1].gather(1, ids[0, 1:, None]).sum()
        assert abs(found.sums[number] - float(expected)) <= 1e-4
    assert found.tokens.tolist() == [6, 0, 11, 2]
    other = texts(7, 1, 12, 3)
    other.tokens[3] = other.tokens[3] % 30 + 6  # one token of the first text
    again = likelihood(ours, other, BARE)
    assert abs(again.sums[0] - found.sums[0]) > 1e-2
    assert np.abs(again.sums[1:] - found.sums[1:]).max() <= 1e-5


@torch.no_grad()
def test_with_a_token_to_begin_with_every_token_counts(gpt):
    stock, ours = gpt
    framed = dataclasses.replace(FRAMED, cls=2, sep=None)
    some = texts(4)
    found = likelihood(ours, some, framed)
    ids = torch.tensor([[2, *some.tokens.tolist()]])
    chances = stock(ids).logits[0].log_softmax(-1)
    expected = float(chances[:-1].gather(1, ids[0, 1:, None]).sum())
    assert abs(found.sums[0] - expected) <= 1e-4
    assert found.tokens.tolist() == [4]
    assert found.perplexity == pytest.approx(np.exp(-expected / 4), rel=1e-4)
    assert found.bits_per_byte(np.array([10])) == pytest.approx(-expected / np.log(2) / 10, 1e-4)


@torch.no_grad()
def test_a_masked_reading_hides_each_token_in_turn(bert):
    stock, ours = bert
    some = texts(5, 9)
    found = likelihood(ours, some, FRAMED)
    for number, row in enumerate(rows(some)):
        total = 0.0
        for at in range(len(row)):
            ids = torch.tensor([[2, *row.tolist(), 3]])
            ids[0, at + 1] = FRAMED.mask
            total += float(stock(ids).logits[0, at + 1].log_softmax(-1)[row[at]])
        assert abs(found.sums[number] - total) <= 1e-4
    assert found.tokens.tolist() == [5, 9]


@torch.no_grad()
def test_every_token_of_a_long_text_counts_once_after_half_a_window_at_least(gpt):
    stock, ours = gpt
    some = texts(75, 33, 5)
    found = likelihood(ours, some, BARE)  # room for 32: windows begin at 0, 16, 32, 43
    assert found.tokens.tolist() == [74, 32, 4]
    for number, row in enumerate(rows(some)):
        expected = 0.0
        for begin, known, end in {75: WINDOWS, 33: [(0, 1, 32), (1, 32, 33)], 5: [(0, 1, 5)]}[
            len(row)
        ]:
            ids = torch.from_numpy(row[begin:end])[None].long()
            chances = stock(ids).logits[0].log_softmax(-1)
            each = chances[:-1].gather(1, ids[0, 1:, None])[:, 0]
            expected += float(each[known - begin - 1 :].sum())
        assert abs(found.sums[number] - expected) <= 1e-4


WINDOWS = [(0, 1, 32), (16, 32, 48), (32, 48, 64), (43, 64, 75)]


@torch.no_grad()
def test_what_ends_texts_also_begins_one_where_nothing_else_does(gpt):
    stock, ours = gpt
    some = texts(4, 40)
    found = likelihood(ours, some, dataclasses.replace(FRAMED, cls=None))
    assert found.tokens.tolist() == [4, 40]
    ids = torch.tensor([[3, *some.tokens[:4].tolist()]])
    chances = stock(ids).logits[0].log_softmax(-1)
    expected = float(chances[:-1].gather(1, ids[0, 1:, None]).sum())
    assert abs(found.sums[0] - expected) <= 1e-4


def test_a_masked_reading_cuts_long_texts_side_by_side(bert):
    _, ours = bert
    whole = texts(75)  # room for 30: three windows of 25
    parts = as_sequences(np.split(whole.tokens, 3))
    found, apart = likelihood(ours, whole, FRAMED), likelihood(ours, parts, FRAMED)
    assert found.sums[0] == pytest.approx(apart.sums.sum(), rel=1e-6)
    assert found.tokens.tolist() == [75]


def test_a_model_without_a_language_head_is_refused(bert):
    _, ours = bert
    bare = dataclasses.replace(ours, heads={})
    with pytest.raises(InputError) as caught:
        likelihood(bare, texts(3), FRAMED)
    assert str(caught.value) == (
        "a masked reading of texts needs a language head, but the model of family bert has the "
        "heads: none; give a pretrained run whose objective predicts tokens"
    )

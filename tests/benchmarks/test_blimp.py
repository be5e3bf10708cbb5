"""BLiMP's scores are those of transformers' log-probabilities."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
import transformers

import blimp
from headstart.data.text import save_tokenizer, train_tokenizer
from headstart.families import load_model
from parity.compare import save_stock
from real_data import data_dir

GOOD = ["the dogs bark.", "A cat sleeps", "who left?", "same words", "a man who sings left"]
BAD = ["the dogs barks.", "A cat sleep", "whom left?", "same words", "a man who sing left"]
PAIRS = [
    blimp.Pair(f"set {n % 2}", "one" if n % 2 else "two", good, bad)
    for n, (good, bad) in enumerate(zip(GOOD, BAD, strict=True))
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a"], kind="bytes", style="gpt")


@pytest.fixture(scope="module")
def models(tmp_path_factory, tokenizer):
    place = tmp_path_factory.mktemp("gpt")
    config = transformers.GPT2Config(
        vocab_size=tokenizer.get_vocab_size(), n_embd=16, n_layer=2, n_head=2, n_positions=64
    )
    stock = save_stock(transformers.GPT2LMHeadModel(config), place)
    save_tokenizer(tokenizer, place)
    return stock, load_model(place)


@torch.no_grad()
def test_the_likelier_sentence_is_the_one_that_transformers_finds_likelier(models, tokenizer):
    stock, ours = models
    found = blimp.found_right(ours, tokenizer, PAIRS)
    first = tokenizer.token_to_id("<|endoftext|>")
    sums = []
    for text in GOOD + BAD:
        ids = torch.tensor([[first, *tokenizer.encode(text, add_special_tokens=False).ids]])
        chances = stock(ids).logits[0].log_softmax(-1)
        sums.append(float(chances[:-1].gather(1, ids[0, 1:, None]).sum()))
    expected = np.array(sums[: len(GOOD)]) > np.array(sums[len(GOOD) :])
    expected[3] = False  # a tie
    assert found.tolist() == expected.tolist()
    swapped = [blimp.Pair(p.name, p.phenomenon, p.bad, p.good) for p in PAIRS]
    other = blimp.found_right(ours, tokenizer, swapped)
    assert [not a for a in other] == [n == 3 or bool(a) for n, a in enumerate(found)]


def test_the_mean_is_over_sets_not_pairs(capsys):
    table = blimp.shown(PAIRS, np.array([True, False, True, False, False]))
    assert table["sets"] == {"set 0": pytest.approx(2 / 3), "set 1": 0.0}
    assert table["phenomena"] == {"two": pytest.approx(2 / 3), "one": 0.0}
    assert table["mean"] == pytest.approx(1 / 3)
    assert "33.33  mean over 2 sets, 5 pairs" in capsys.readouterr().out


def test_there_are_67_sets_of_13_terms():
    data_dir("blimp")
    pairs = list(blimp.blimp(2))
    assert len(pairs) == 2 * 67
    assert len({pair.name for pair in pairs}) == 67
    assert len({pair.phenomenon for pair in pairs}) == 13

import numpy as np
import pytest
import torch

from headstart.batch import Sequences
from headstart.data.pack import lay_out
from headstart.families.pooler import pool
from headstart.objectives import BagOfWords, Pretraining
from headstart.objectives.bag_of_words import other_words


def test_a_window_is_asked_for_the_weighted_words_of_the_other_windows():
    # document 0: windows [5 5 6] and [7 6]; document 1: one window [8 9]
    sequences = Sequences(
        np.array([5, 5, 6, 7, 6, 8, 9]),
        np.array([3, 2, 2]),
        np.arange(3),
        {"document": np.array([0, 0, 1])},
    )
    importance = np.array([0, 0, 0, 0, 0, 1.0, 2.0, 1.0, 1.0, 1.0])
    rows, columns, shares = other_words(sequences, importance)
    found = {(r, c): s for r, c, s in zip(rows, columns, shares, strict=True)}
    # window 0: 7 once, weight 1 -> log 2; 6 once, weight 2 -> 2 log 2
    # window 1: 5 twice -> log 3; 6 once, weight 2 -> 2 log 2
    second = np.log(3) / (np.log(3) + 2 * np.log(2))
    assert found == {
        (0, 7): pytest.approx(1 / 3),
        (0, 6): pytest.approx(2 / 3),
        (1, 5): pytest.approx(second),
        (1, 6): pytest.approx(1 - second),
    }


def test_words_without_importance_are_no_targets():
    sequences = Sequences(
        np.array([5, 6, 5, 7]), np.array([2, 2]), np.arange(2), {"document": np.array([0, 0])}
    )
    importance = np.zeros(8)
    importance[7] = 1
    rows, columns, shares = other_words(sequences, importance)
    assert (rows.tolist(), columns.tolist(), shares.tolist()) == ([0], [7], [1.0])


def test_the_loss_is_the_cross_entropy_of_the_mean_pooled_vector(vocabulary, sequences, model):
    importance = np.ones(40, dtype=np.float32)
    objective = Pretraining([BagOfWords(importance)], vocabulary)
    heads = objective.heads(model)
    model.eval()
    batch = objective.prepare(sequences, np.random.default_rng(0))
    loss = objective.loss(model, heads, batch)
    assert loss.count == 4  # windows of documents with two windows
    vectors = pool(model.encode(batch), batch.layout["tokens"], "mean")
    chance = torch.log_softmax(heads["bow"](vectors), -1)
    rows, columns, shares = other_words(sequences, importance)
    expected = -(torch.from_numpy(shares) * chance[rows, columns]).sum().item() / 4
    assert loss.value.item() == pytest.approx(expected, abs=1e-5)


def test_a_batch_without_a_second_window_has_no_loss_and_no_gradient(vocabulary, model):
    one = Sequences(np.array([5, 6]), np.array([2]), np.array([0]), {"document": np.array([0])})
    objective = Pretraining([BagOfWords(np.ones(40, np.float32))], vocabulary)
    loss = objective.loss(
        model, objective.heads(model), objective.prepare(one, np.random.default_rng(0))
    )
    assert (loss.count, loss.value.item()) == (0, 0.0)


def test_windows_of_one_topic_come_to_lie_together(vocabulary, model):
    rng = np.random.default_rng(0)
    topics = np.arange(40) % 2
    words = [rng.integers(5 + 17 * topic, 22 + 17 * topic, 40) for topic in topics]
    sequences = Sequences(
        np.concatenate(words),
        np.full(80, 20),
        np.arange(80),
        {"document": np.repeat(np.arange(40), 2)},
    )
    objective = Pretraining([BagOfWords(np.ones(40, np.float32))], vocabulary)
    heads = objective.heads(model)
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], 2e-3)
    for step in range(30):
        optimizer.zero_grad()
        batch = objective.prepare(sequences, np.random.default_rng(step))
        objective.loss(model, heads, batch).value.backward()
        optimizer.step()
    model.eval()
    tokens, layout = lay_out(sequences, prefix=2, suffix=3, pad=0)
    batch.inputs["tokens"], batch.layout["tokens"] = tokens, layout
    vectors = pool(model.encode(batch), layout, "mean")
    vectors = torch.nn.functional.normalize(vectors - vectors.mean(0), dim=-1)
    alike = vectors @ vectors.t()
    same = torch.from_numpy(np.repeat(topics, 2)[:, None] == np.repeat(topics, 2)[None])
    assert alike[same].mean() > alike[~same].mean() + 0.5

"""The labelled tasks: losses by hand, windows as a weighted mean, weights, answers."""

import math

import numpy as np
import pytest
import torch

from headstart.tasks import Classify, Examples, average, balanced_weights
from small_tasks import as_sequences, labelled, small_start, vocabulary


class Fixed(torch.nn.Module):
    """A head that gives the scores it was made with."""

    def __init__(self, scores):
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, hidden, layout):
        return self.scores


def batch_of(task, labels, documents=(0, 1), lengths=(3, 5)):
    texts = as_sequences([np.full(n, 7) for n in lengths])
    fields = {"document": np.asarray(documents), "labels": np.asarray(labels)}
    return task.prepare(
        type(texts)(texts.tokens, texts.lengths, texts.index, fields), np.random.default_rng(0)
    )


def loss(kind, scores, labels, *, weights=None, **how):
    task = Classify(kind, outputs=len(scores[0]), frame=vocabulary(), weights=weights)
    start = small_start()
    found = task.loss(start.model, {"sequence": Fixed(scores)}, batch_of(task, labels, **how))
    return float(found.value.detach()), found.count


def test_cross_entropy_of_two_texts_by_hand():
    # -log softmax: log(1 + e^-2) and log(1 + e^1)
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert loss("classes", [[2.0, 0.0], [1.0, 0.0]], [0, 1]) == (pytest.approx(expected), 2)


def test_class_weights_multiply_each_texts_loss_and_the_mean_is_over_texts():
    # (3 * log(1 + e^-2) + 0.5 * log(1 + e)) / 2
    expected = (3 * math.log(1 + math.exp(-2)) + 0.5 * math.log(1 + math.e)) / 2
    got = loss("classes", [[2.0, 0.0], [1.0, 0.0]], [0, 1], weights=np.array([3.0, 0.5]))
    assert got[0] == pytest.approx(expected)


def test_several_labels_and_numbers_by_hand():
    # log(1 + e^-1), log(1 + e^0), log(1 + e^2), log(1 + e^-3)
    scores, labels = [[1.0, 0.0], [2.0, 3.0]], [[1.0, 0.0], [0.0, 1.0]]
    terms = [math.log(1 + math.exp(z)) for z in (-1, 0, 2, -3)]
    got = loss("multilabel", scores, np.asarray(labels, dtype=np.float32))
    assert got == (pytest.approx(sum(terms) / 4), 2)
    # ((1.5 - 1)² + (2 - 4)²) / 2
    numbers = np.asarray([1.0, 4.0], dtype=np.float32)
    assert loss("number", [[1.5], [2.0]], numbers) == (pytest.approx(2.125), 2)


def test_two_windows_of_one_text_count_as_one_text_with_scores_weighted_by_length():
    # windows of 3 + 2 and 5 + 2 tokens with special ones: (5 * 2 + 7 * -1) / 12 = 0.25
    expected = math.log(1 + math.exp(-0.25))
    got = loss("classes", [[2.0, 0.0], [-1.0, 0.0]], [0, 0], documents=(4, 4))
    assert got == (pytest.approx(expected), 1)


def test_average_by_hand_and_a_changed_length_changes_it():
    values = torch.tensor([[1.0], [4.0], [10.0]])
    owner = torch.tensor([1, 1, 0])
    got = average(values, torch.tensor([1, 2, 5]), owner, 2)
    assert got.tolist() == [[10.0], [3.0]]  # (1 * 1 + 2 * 4) / 3
    assert average(values, torch.tensor([2, 2, 5]), owner, 2).tolist() == [[10.0], [2.5]]


@pytest.mark.parametrize("family", ["modern", "bert", "gpt"])
def test_a_long_text_scores_as_the_weighted_mean_of_its_windows_given_alone(family):
    start = small_start(family)
    task = Classify("classes", outputs=3, frame=start.frame)
    heads = task.heads(start.model, seed=1)
    long = as_sequences([np.random.default_rng(0).integers(5, 40, 23)])
    cut = Examples(long, window=10)
    with torch.no_grad():
        together = cut.take(np.array([0]))
        rng = np.random.default_rng(0)
        whole = task.predict(start.model, heads, task.prepare(together, rng))
        alone = type(together)(together.tokens, together.lengths, together.index)
        each = task.predict(start.model, heads, task.prepare(alone, rng))
    weight = torch.from_numpy(together.lengths + 2).float()[:, None]
    assert len(each) == 3
    torch.testing.assert_close(whole, (each * weight).sum(0, keepdim=True) / weight.sum())
    assert not torch.allclose(whole, each.mean(0, keepdim=True), atol=1e-6)


def test_packed_and_padded_batches_give_the_same_scores():
    start, data = small_start(), labelled(12)
    task = Classify("classes", outputs=3, frame=start.frame)
    heads = task.heads(start.model, seed=1).double()
    model = small_start().model.double()
    windows = Examples(data.inputs, window=10).take(np.arange(12))
    with torch.no_grad():
        packed, padded = (
            task.predict(model, heads, task.lay_out(windows, pack=pack)) for pack in (True, False)
        )
    torch.testing.assert_close(packed, padded, rtol=1e-6, atol=1e-6)


def test_balanced_weights_by_hand():
    labels = np.array([0, 0, 0, 1])
    # 4 / (2 * 3), 4 / (2 * 1); a class without rows keeps 1; the mean over rows is 1
    got = balanced_weights(labels, kind="classes", outputs=3)
    assert got.tolist() == pytest.approx([2 / 3, 2.0, 1.0])
    assert got[labels].mean() == pytest.approx(1.0)
    several = np.array([[1, 0], [0, 0], [0, 0], [1, 1]], dtype=np.float32)
    assert balanced_weights(several, kind="multilabel", outputs=2).tolist() == [1.0, 3.0]
    assert balanced_weights(np.array([1.0]), kind="number", outputs=1) is None


def test_answers_and_shares():
    scores = np.array([[0.0, math.log(3)], [1.0, -1.0]])
    task = Classify("classes", outputs=2, frame=vocabulary())
    assert task.answers(scores).tolist() == [1, 0]
    assert task.shares(scores)[0].tolist() == pytest.approx([0.25, 0.75])
    several = Classify("multilabel", outputs=2, frame=vocabulary())
    assert several.answers(scores).tolist() == [[0, 1], [1, 0]]
    assert several.shares(scores)[0].tolist() == pytest.approx([0.5, 0.75])
    number = Classify("number", outputs=1, frame=vocabulary())
    assert number.answers(scores[:, :1]).tolist() == [0.0, 1.0]
    assert number.shares(scores[:, :1]) is None

import numpy as np
import pytest
import torch
from torch import nn

from headstart import families
from headstart.batch import Sequences
from headstart.errors import InputError
from headstart.evaluate.probe import online_probe
from headstart.nn import TransformerConfig
from headstart.objectives import Vocabulary
from headstart.tasks import LabelledTokens
from headstart.train import Learner

VOCABULARY = Vocabulary(30, 0, 2, 3, 4, (0, 1, 2, 3, 4), np.ones(30, dtype=bool))


def examples(count: int, *, shuffled: bool = False) -> LabelledTokens:
    """Class 0 uses tokens 5-16, class 1 tokens 17-28."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    tokens = np.concatenate([rng.integers(5 + 12 * y, 17 + 12 * y, 8) for y in labels])
    texts = Sequences(tokens, np.full(count, 8), np.arange(count))
    if shuffled:
        labels = rng.permutation(labels)
    return LabelledTokens(texts, labels, "classes", ("a", "b"))


@pytest.fixture
def learner() -> Learner:
    config = TransformerConfig(
        vocab_size=30, hidden_size=32, num_layers=1, num_heads=4, intermediate_size=64
    )
    return Learner(families.build_model(config, family="modern"), nn.ModuleDict())


def test_the_probe_scores_the_task_by_cross_validation_and_leaves_the_learner_alone(learner):
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    probe = online_probe(examples(60), VOCABULARY, max_length=16)
    assert probe.name == "probe accuracy"
    polled = []
    assert probe.score(learner, lambda: polled.append(1)) > 0.9
    assert polled
    for name, tensor in learner.state_dict().items():
        assert torch.equal(before[name], tensor)


def test_shuffled_labels_score_like_chance(learner):
    probe = online_probe(examples(100, shuffled=True), VOCABULARY, max_length=16)
    assert 0.3 < probe.score(learner, lambda: None) < 0.7


def test_the_same_weights_get_the_same_score(learner):
    probe = online_probe(examples(60), VOCABULARY, max_length=16)
    assert probe.score(learner, lambda: None) == probe.score(learner, lambda: None)


def test_a_probe_reads_one_window_and_at_most_so_many_tokens(learner):
    probe = online_probe(examples(200), VOCABULARY, max_length=5)
    assert probe.tokens == 200 * 5  # of 8 tokens each
    smaller = probe.within(600)
    assert (smaller.tokens, smaller.name) == (600, probe.name)
    assert smaller.score(learner, lambda: None) > 0.9
    assert probe.within(10).tokens == 50 * 5  # 50 examples however little is allowed
    assert probe.within(10_000).tokens == probe.tokens
    assert online_probe(examples(1500), VOCABULARY, max_length=16).tokens == 1000 * 8


def test_a_smaller_probe_may_meet_a_single_class(learner):
    few = examples(400)
    labels = np.zeros(400, dtype=np.int64)
    labels[:2] = 1
    rare = LabelledTokens(few.inputs, labels, "classes", ("a", "b"))
    found = online_probe(rare, VOCABULARY, max_length=16).within(1)
    assert 0.9 < found.score(learner, lambda: None) <= 1.0


def test_too_few_examples_are_refused():
    with pytest.raises(InputError) as caught:
        online_probe(examples(9), VOCABULARY, max_length=16)
    assert str(caught.value) == "the probe has 9 labelled examples, but needs at least 10"

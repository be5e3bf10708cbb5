import numpy as np
import pytest
import torch
from torch.nn import functional as F

from headstart.batch import Sequences
from headstart.objectives import MaskedLanguage, Pretraining
from headstart.objectives.masked_language import choose_words


def many(count: int = 400, length: int = 50) -> Sequences:
    tokens = np.random.default_rng(0).integers(5, 40, count * length)
    return Sequences(tokens, np.full(count, length), np.arange(count))


def test_of_the_chosen_tokens_80_10_10_percent_are_masked_random_and_kept(vocabulary):
    objective = Pretraining([MaskedLanguage(vocabulary)], vocabulary)
    batch = objective.prepare(many(), np.random.default_rng(0))
    slots, labels = batch.targets["mlm.slots"], batch.targets["mlm.labels"]
    assert len(slots) == 3000  # 15 % of 400 x 50 tokens; the special ones do not count
    shown = batch.inputs["tokens"][slots]
    assert (shown == 4).float().mean().item() == pytest.approx(0.8, abs=0.03)
    # a random token is the old one in 1 of 35 cases
    assert (shown == labels).float().mean().item() == pytest.approx(0.1 + 0.1 / 35, abs=0.02)
    assert not set(shown.tolist()) & {0, 1, 2, 3}


def test_special_tokens_and_padding_are_never_targets(vocabulary, sequences):
    objective = Pretraining([MaskedLanguage(vocabulary, rate=0.999)], vocabulary)
    batch = objective.prepare(sequences, np.random.default_rng(0))
    slots = batch.targets["mlm.slots"]
    assert len(slots) == sequences.lengths.sum()
    assert sorted(batch.targets["mlm.labels"].tolist()) == sorted(sequences.tokens.tolist())


def test_the_rate_moves_in_a_straight_line_to_its_end(vocabulary):
    objective = Pretraining([MaskedLanguage(vocabulary, rate=0.4, rate_end=0.2)], vocabulary)
    counts = [
        len(objective.prepare(many(), np.random.default_rng(0), progress).targets["mlm.slots"])
        for progress in (0.0, 0.5, 1.0)
    ]
    assert counts == [8000, 6000, 4000]


def test_the_same_generator_gives_the_same_batch_and_another_does_not(vocabulary, sequences):
    objective = Pretraining([MaskedLanguage(vocabulary)], vocabulary)
    first, again, other = (
        objective.prepare(sequences, np.random.default_rng(seed)).inputs["tokens"]
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_whole_words_are_chosen_with_all_their_pieces(vocabulary):
    tokens = np.array([6, 7, 9, 8, 10, 11, 12, 6, 7])  # words: 6 7 9 | 8 | 10 11 | 12 | 6 7
    sequences = Sequences(tokens, np.array([9]), np.array([0]))
    part = MaskedLanguage(vocabulary, rate=0.3, whole_word=True, mask_share=1, random_share=0)
    words = [{1, 2, 3}, {4}, {5, 6}, {7}, {8, 9}]  # slots, after the first special token
    for seed in range(20):
        batch = Pretraining([part], vocabulary).prepare(sequences, np.random.default_rng(seed))
        chosen = set(batch.targets["mlm.slots"].tolist())
        assert all(word <= chosen or not word & chosen for word in words)


def test_words_are_chosen_until_their_share_is_reached():
    starts = np.ones(1000, dtype=bool)
    assert len(choose_words(starts, 0.15, np.random.default_rng(0))) in (150, 151)


def test_pieces_alone_would_be_torn_apart(vocabulary):
    tokens = np.array([6, 7, 9, 8, 10, 11, 12, 6, 7])
    sequences = Sequences(tokens, np.array([9]), np.array([0]))
    part = MaskedLanguage(vocabulary, rate=0.3)
    torn = 0
    for seed in range(20):
        batch = Pretraining([part], vocabulary).prepare(sequences, np.random.default_rng(seed))
        chosen = set(batch.targets["mlm.slots"].tolist())
        torn += bool({5, 6} & chosen) and not {5, 6} <= chosen
    assert torn > 0


def test_the_loss_is_cross_entropy_of_the_heads_scores_at_the_chosen_slots(
    vocabulary, sequences, model
):
    objective = Pretraining([MaskedLanguage(vocabulary)], vocabulary)
    heads = objective.heads(model)
    model.eval()
    batch = objective.prepare(sequences, np.random.default_rng(0))
    loss = objective.loss(model, heads, batch)
    hidden = model.encode(batch)
    scores = heads["mlm"](hidden, model.embed.tokens.weight)[batch.targets["mlm.slots"]]
    expected = F.cross_entropy(scores, batch.targets["mlm.labels"])
    assert loss.value.item() == pytest.approx(expected.item(), abs=1e-5)
    assert loss.count == len(batch.targets["mlm.slots"])


def test_a_few_sequences_are_learned_by_heart(vocabulary, sequences, model):
    part = MaskedLanguage(vocabulary, rate=0.3)
    objective = Pretraining([part], vocabulary)
    heads = objective.heads(model)
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], 3e-3)
    batch = objective.prepare(sequences, np.random.default_rng(0))
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = objective.loss(model, heads, batch).value
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 3
    assert losses[-1] < 1

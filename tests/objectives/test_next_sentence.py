import numpy as np
import pytest
import torch

from headstart.batch import Sequences
from headstart.errors import InputError
from headstart.families import find
from headstart.objectives import HybridLanguage, MaskedLanguage, NextSentence, Pretraining


def windows(count: int = 200, length: int = 10) -> Sequences:
    """Window s is the token 5 + s % 35, `length` times; every window is a document."""
    tokens = np.repeat(5 + np.arange(count) % 35, length)
    fields = {"document": np.arange(count)}
    return Sequences(tokens, np.full(count, length), np.arange(count), fields)


def test_half_of_the_second_segments_come_from_another_document(vocabulary):
    objective = Pretraining([NextSentence()], vocabulary, segments=True)
    batch = objective.prepare(windows(), np.random.default_rng(0))
    layout, tokens = batch.layout["tokens"], batch.inputs["tokens"]
    labels = batch.targets["nsp.labels"]
    assert 70 < int(labels.sum()) < 130
    assert layout.lengths.tolist() == [13] * 200  # [CLS] 5 [SEP] 5 [SEP]
    for s in range(200):
        row = tokens[layout.first[s] : layout.first[s] + 13]
        assert row[[0, 6, 12]].tolist() == [2, 3, 3]
        if labels[s] == 0:
            assert row[1] == row[7] == 5 + s % 35


def test_exchanged_segments_differ_unless_two_documents_read_the_same(vocabulary):
    objective = Pretraining([NextSentence()], vocabulary, segments=True)
    batch = objective.prepare(windows(30), np.random.default_rng(0))
    layout, tokens = batch.layout["tokens"], batch.inputs["tokens"]
    for s in np.flatnonzero(batch.targets["nsp.labels"].numpy()):
        row = tokens[layout.first[s] : layout.first[s] + 13]
        assert row[1] == 5 + s
        assert row[7] != row[1]


def test_segments_are_0_up_to_the_separator_and_1_after_it(vocabulary):
    objective = Pretraining([NextSentence()], vocabulary, segments=True)
    batch = objective.prepare(windows(5), np.random.default_rng(0))
    layout = batch.layout["tokens"]
    for first in layout.first.tolist():
        assert batch.inputs["segments"][first : first + 13].tolist() == [0] * 7 + [1] * 6


def test_a_second_segment_of_the_same_document_counts_as_following(vocabulary):
    one = windows(50)
    same = Sequences(one.tokens, one.lengths, one.index, {"document": np.zeros(50, np.int64)})
    batch = Pretraining([NextSentence()], vocabulary).prepare(same, np.random.default_rng(0))
    assert batch.targets["nsp.labels"].sum() == 0
    assert "segments" not in batch.inputs  # the model was said to have none


def test_masking_and_pairs_share_one_batch_and_their_losses_add_up(vocabulary, sequences, model):
    objective = Pretraining(
        [MaskedLanguage(vocabulary, weight=2.0), NextSentence()], vocabulary, segments=True
    )
    heads = objective.heads(model)
    model.eval()
    batch = objective.prepare(sequences, np.random.default_rng(0))
    loss = objective.loss(model, heads, batch)
    assert objective.name == "mlm+nsp"
    assert loss.value.item() == pytest.approx(
        2 * loss.parts["mlm"].item() + loss.parts["nsp"].item(), abs=1e-5
    )


def test_the_order_of_a_few_pairs_is_learned_by_heart(vocabulary, model):
    objective = Pretraining([NextSentence()], vocabulary, segments=True)
    heads = objective.heads(model)
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], 2e-3)
    batch = objective.prepare(windows(12), np.random.default_rng(0))
    assert 0 < batch.targets["nsp.labels"].sum() < 12
    for _ in range(60):
        optimizer.zero_grad()
        objective.loss(model, heads, batch).value.backward()
        optimizer.step()
    model.eval()
    scores = heads["nsp"](model.encode(batch), batch.layout["tokens"])
    assert torch.equal(scores.argmax(-1), batch.targets["nsp.labels"])


def test_nsp_is_refused_beside_hybrid_whose_causal_rows_hide_the_pair_from_it(vocabulary):
    masked = MaskedLanguage(vocabulary)
    parts = [HybridLanguage(masked, causal_share=1.0), NextSentence()]
    with pytest.raises(InputError) as error:
        Pretraining(parts, vocabulary)
    assert str(error.value) == (
        "objective hybrid+nsp: nsp answers from the first token, which in hybrid's causal batches "
        "sees nothing after it; choose one of nsp, mlm+nsp, hybrid, hybrid+bow"
    )
    # why: whatever the second segments are, its scores in a causal row are the same
    model = (
        find("bert")
        .build(
            num_layers=2, hidden_size=16, num_heads=2, vocab_size=vocabulary.size, max_positions=32
        )
        .eval()
    )
    head = NextSentence().head(model, 0).eval()
    batch = Pretraining([NextSentence()], vocabulary).prepare(windows(8), np.random.default_rng(0))
    with torch.no_grad():
        for causal, blind in ((True, True), (None, False)):
            scores = head(model.encode(batch, causal=causal), batch.layout["tokens"])
            assert bool((scores - scores[0]).abs().max() < 1e-6) is blind

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from headstart import families
from headstart.errors import InputError
from headstart.families.pooler import pool
from headstart.nn import TransformerConfig
from headstart.objectives import Contrast, Pretraining


def test_dropout_views_show_every_sequence_twice_with_the_other_view_as_its_partner(
    vocabulary, sequences
):
    objective = Pretraining([Contrast()], vocabulary)
    batch = objective.prepare(sequences, np.random.default_rng(0))
    assert batch.targets["contrast.of"].tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert len(batch.layout["tokens"].lengths) == 12


def test_the_loss_equals_the_formula_written_out(vocabulary, sequences, model):
    objective = Pretraining([Contrast("spans", temperature=0.2)], vocabulary)
    model.eval()
    batch = objective.prepare(sequences, np.random.default_rng(0))
    loss = objective.loss(model, objective.heads(model), batch)
    vectors = F.normalize(pool(model.encode(batch), batch.layout["tokens"], "mean"), dim=-1)
    scores = (vectors @ vectors.t() / 0.2).exp()
    expected = 0.0
    for one, other in ((0, 1), (1, 0), (2, 3), (3, 2)):  # documents 0 and 1 have two windows
        others = scores[one].sum() - scores[one, one]
        expected -= (scores[one, other] / others).log().item() / 4
    assert loss.value.item() == pytest.approx(expected, abs=1e-4)
    assert loss.count == 4


def test_dropout_views_need_dropout(vocabulary):
    config = TransformerConfig(
        vocab_size=40, hidden_size=32, num_layers=1, num_heads=4, intermediate_size=64
    )
    plain = families.build_model(config, family="bert")
    with pytest.raises(InputError) as caught:
        Pretraining([Contrast()], vocabulary).heads(plain)
    assert str(caught.value) == (
        "contrast between dropout views needs dropout, but model.dropout is 0: "
        "set model.dropout=0.1, or take spans as views"
    )


def test_views_of_one_text_come_nearer_than_other_texts(vocabulary, sequences, model):
    objective = Pretraining([Contrast()], vocabulary)
    heads = objective.heads(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for step in range(40):
        optimizer.zero_grad()
        batch = objective.prepare(sequences, np.random.default_rng(step))
        loss = objective.loss(model, heads, batch).value
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])

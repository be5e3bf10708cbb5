from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from headstart import families
from headstart.batch import Sequences
from headstart.data.loader import Windows
from headstart.errors import InputError
from headstart.nn import TransformerConfig
from headstart.objectives import CausalLanguage, HybridLanguage, MaskedLanguage, Pretraining


@pytest.fixture
def decoder() -> families.Model:
    config = TransformerConfig(
        vocab_size=40,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        intermediate_size=64,
        causal=True,
        position="learned",
    )
    return families.build_model(config, family="gpt", seed=1)


def test_every_token_but_the_last_of_its_sequence_predicts_the_next(vocabulary, sequences):
    objective = Pretraining([CausalLanguage(vocabulary)], vocabulary)
    batch = objective.prepare(sequences, np.random.default_rng(0))
    layout = batch.layout["tokens"]
    slots, labels = batch.targets["causal.slots"], batch.targets["causal.labels"]
    assert len(slots) == int((layout.lengths - 1).sum())
    assert torch.equal(batch.inputs["tokens"][slots + 1], labels)
    assert torch.equal(layout.sequence[slots], layout.sequence[slots + 1])


def test_a_window_that_goes_on_is_followed_by_its_documents_next_token(vocabulary):
    text = Sequences(np.arange(5, 30), np.array([17, 8]), np.arange(2))
    windows = Windows(text, length=6).take(np.array([1, 2, 3]))
    assert windows.tokens.tolist() == [
        10,
        11,
        12,
        13,
        14,
        15,
        16,
        17,
        18,
        19,
        20,
        21,
        *range(22, 26),
    ]
    for part in (CausalLanguage(vocabulary), HybridLanguage(MaskedLanguage(vocabulary), 1.0)):
        batch = Pretraining([part], vocabulary).prepare(windows, np.random.default_rng(0))
        name = "causal" if part.name == "causal" else "mlm"
        found = dict(
            zip(
                batch.targets[f"{name}.slots"].tolist(),
                batch.targets[f"{name}.labels"].tolist(),
                strict=True,
            )
        )
        layout = batch.layout["tokens"]
        ends = (layout.first + layout.lengths - 2).tolist()  # slots of the windows' last tokens
        # the first document ends with its third window, the second goes on with 26
        assert [found[end] for end in ends] == [16, 3, 26]
        assert [int(batch.inputs["tokens"][end + 1]) for end in ends] == [3, 3, 3]
        inner = [slot for slot in found if slot not in ends]
        assert [found[slot] for slot in inner] == batch.inputs["tokens"][
            torch.tensor(inner) + 1
        ].tolist()


def test_half_of_the_texts_begin_with_what_ends_texts_where_nothing_else_begins_them(vocabulary):
    bare = replace(vocabulary, cls=None)
    text = Sequences(np.arange(5, 39), np.array([17, 17]), np.arange(2))
    windows = Windows(text, length=6).take(np.arange(6))
    objective = Pretraining([CausalLanguage(bare)], bare)
    led = []
    for seed in range(200):
        batch = objective.prepare(windows, np.random.default_rng(seed))
        layout, tokens = batch.layout["tokens"], batch.inputs["tokens"]
        first = tokens[layout.first]
        led.append((first == 3).tolist())
        assert layout.lengths.tolist() == [5 + 1 + led[-1][0], 7, 7, 5 + 1 + led[-1][3], 7, 7]
        at = layout.first[0] + int(led[-1][0])
        assert tokens[at : at + 5].tolist() == [5, 6, 7, 8, 9]
    shares = np.mean(led, 0)
    assert shares[[1, 2, 4, 5]].tolist() == [0, 0, 0, 0]
    assert (abs(shares[[0, 3]] - 0.5) < 0.12).all()
    slot = int(layout.first[led[-1].index(True)])  # the text's first token is a target
    assert slot in batch.targets["causal.slots"].tolist()
    assert objective.extra == 1
    assert not Pretraining([CausalLanguage(vocabulary)], vocabulary).begins


def test_the_loss_of_packed_sequences_is_that_of_each_one_alone(vocabulary, sequences, decoder):
    objective = Pretraining([CausalLanguage(vocabulary)], vocabulary)
    heads = objective.heads(decoder)
    decoder.double().eval()
    together = objective.loss(
        decoder, heads, objective.prepare(sequences, np.random.default_rng(0))
    )
    total = 0.0
    for number in range(len(sequences)):
        one = sequences.take(np.array([number]))
        loss = objective.loss(decoder, heads, objective.prepare(one, np.random.default_rng(0)))
        total += loss.value.item() * loss.count
    assert together.value.item() == pytest.approx(total / together.count, abs=1e-6)


def test_an_encoder_is_refused_with_what_would_do(vocabulary, model):
    with pytest.raises(InputError) as caught:
        Pretraining([CausalLanguage(vocabulary)], vocabulary).heads(model)
    assert str(caught.value) == (
        "objective causal needs decoder, but family bert is an encoder: "
        "choose another family or objective"
    )


def test_parts_that_no_model_can_do_together_are_refused(vocabulary):
    with pytest.raises(InputError) as caught:
        Pretraining([CausalLanguage(vocabulary), MaskedLanguage(vocabulary)], vocabulary)
    assert str(caught.value) == (
        "objective causal+mlm: no model can do all of it, because causal needs decoder and mlm "
        "needs encoder"
    )


def test_the_hybrids_causal_batches_see_nothing_of_what_follows(vocabulary, sequences, model):
    objective = Pretraining([HybridLanguage(MaskedLanguage(vocabulary), 1.0)], vocabulary)
    heads = objective.heads(model)
    model.eval()
    one = sequences.take(np.array([0]))
    batch = objective.prepare(one, np.random.default_rng(0))
    assert batch.task == "causal"
    before = model.encode(batch, causal=True)
    batch.inputs["tokens"][10:] = 7
    after = model.encode(batch, causal=True)
    torch.testing.assert_close(before[:10], after[:10])
    assert not torch.allclose(model.encode(batch)[:10], after[:10], atol=1e-3)  # both sides seen
    labels = batch.targets["mlm.labels"]
    scores = heads["hybrid"](after, model.embed.tokens.weight)[batch.targets["mlm.slots"]]
    expected = F.cross_entropy(scores, labels).item()
    assert objective.loss(model, heads, batch).value.item() == pytest.approx(expected, abs=1e-5)


def test_the_hybrid_draws_its_share_of_causal_batches(vocabulary, sequences):
    objective = Pretraining([HybridLanguage(MaskedLanguage(vocabulary), 0.3)], vocabulary)
    causal = sum(
        objective.prepare(sequences, np.random.default_rng(seed)).task == "causal"
        for seed in range(300)
    )
    assert 60 < causal < 120  # 90 expected, standard deviation 8

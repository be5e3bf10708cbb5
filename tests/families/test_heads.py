import pytest
import torch

from headstart.families import bert, gpt, make_head, pool
from layouts import alone, packed, padded, ragged

SIZES = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "vocab_size": 60}
TEXTS = ragged((4, 1, 7))


@pytest.mark.parametrize("pooling", ["first", "mean", "last"])
def test_a_pooled_text_is_the_same_packed_padded_and_alone(pooling):
    model = bert.build(**SIZES).double()
    apart = torch.cat(
        [pool(model.encode(batch), batch.layout["tokens"], pooling) for batch in alone(TEXTS)]
    )
    for layout in (packed, padded):
        batch = layout(TEXTS)
        together = pool(model.encode(batch), batch.layout["tokens"], pooling)
        assert (together - apart).abs().max() <= 1e-12


def test_pooling_by_hand():
    layout = padded(ragged((2, 1))).layout["tokens"]
    hidden = torch.tensor([[1.0], [3.0], [8.0], [99.0]])  # the last is padding
    assert pool(hidden, layout, "first").tolist() == [[1.0], [8.0]]
    assert pool(hidden, layout, "last").tolist() == [[3.0], [8.0]]
    assert pool(hidden, layout, "mean").tolist() == [[2.0], [8.0]]


def test_the_mean_of_many_half_precision_numbers_is_taken_in_fp32():
    layout = padded(ragged((4096,))).layout["tokens"]
    hidden = torch.ones(4096, 1, dtype=torch.bfloat16)  # bf16 cannot count beyond 256 by ones
    assert pool(hidden, layout, "mean").tolist() == [[1.0]]


def test_the_causal_head_has_no_weights_and_scores_with_the_table():
    model = gpt.build(**SIZES)
    head, table = make_head(model, "causal"), model.embed.tokens.weight
    assert list(head.parameters()) == []
    hidden = torch.ones(1, 16)
    assert torch.allclose(head(hidden, table)[0], table.sum(1), atol=1e-6)


def test_a_sequence_head_has_as_many_outputs_as_asked_for_and_next_sentence_two():
    model, batch = bert.build(**SIZES), packed(TEXTS)
    hidden, layout = model.encode(batch), batch.layout["tokens"]
    assert make_head(model, "sequence", outputs=5)(hidden, layout).shape == (3, 5)
    assert make_head(model, "next_sentence", outputs=5)(hidden, layout).shape == (3, 2)


def test_heads_follow_the_models_dtype_and_seed():
    model = bert.build(**SIZES).double()
    one, same, other = (make_head(model, "masked", seed=seed) for seed in (1, 1, 2))
    assert one.dense.weight.dtype == torch.float64
    assert torch.equal(one.dense.weight, same.dense.weight)
    assert not torch.equal(one.dense.weight, other.dense.weight)


@torch.no_grad()
def test_a_dense_layer_that_begins_from_vectors_centres_them_and_makes_them_as_wide():
    generator = torch.Generator().manual_seed(0)
    narrow = torch.randn(400, 16, generator=generator) @ torch.randn(16, 16, generator=generator)
    alike = 30 + 0.1 * narrow
    assert torch.nn.functional.cosine_similarity(alike[0], alike[1], 0) > 0.99
    head = make_head(bert.build(**SIZES), "pooler")
    head.spread(alike)
    out = head.dense(alike)
    assert out.mean(0).abs().max() < 1e-3
    spread = out.t() @ out / len(out)
    wide, values = torch.linalg.eigvalsh(spread), torch.linalg.eigvalsh(alike.T.cov(correction=0))
    # a direction of variance v comes to v / (v + 0.01 of the largest)
    assert torch.allclose(wide, values / (values + 0.01 * values[-1]), atol=1e-2)

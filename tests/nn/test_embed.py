import torch

from headstart.nn import Embedding, TransformerConfig, initialise
from layouts import padded, ragged

SIZES = {
    "vocab_size": 20,
    "hidden_size": 4,
    "num_layers": 1,
    "num_heads": 1,
    "intermediate_size": 4,
    "max_positions": 8,
    "position": "learned",
}


def embedding(**options):
    embed = Embedding(TransformerConfig(**SIZES, **options))
    initialise(embed, std=1.0, generator=torch.Generator().manual_seed(0))  # they come unfilled
    return embed


def test_token_position_and_segment_vectors_are_added():
    embed = embedding(segments=2, position_offset=2)
    batch = padded(ragged((3,), vocab=20))
    tokens, layout = batch.inputs["tokens"], batch.layout["tokens"]
    segments = torch.tensor([0, 1, 1])
    expected = (
        embed.tokens.weight[tokens]
        + embed.positions.weight[[2, 3, 4]]  # two rows come before position 0
        + embed.segments.weight[segments]
    )
    assert torch.equal(embed(tokens, layout, segments), expected)


def test_without_segments_all_tokens_are_of_segment_zero():
    embed = embedding(segments=2)
    batch = padded(ragged((3,), vocab=20))
    tokens, layout = batch.inputs["tokens"], batch.layout["tokens"]
    zeros = torch.zeros(3, dtype=torch.long)
    assert torch.equal(embed(tokens, layout), embed(tokens, layout, zeros))
    assert (embed(tokens, layout) - embed(tokens, layout, zeros + 1)).abs().max() > 1e-2


def test_dropout_scales_what_it_keeps_and_only_in_training():
    embed = embedding(dropout=0.5)
    batch = padded(ragged((8,), vocab=20))
    tokens, layout = batch.inputs["tokens"], batch.layout["tokens"]
    plain = embed.eval()(tokens, layout)
    noisy = embed.train()(tokens, layout)
    kept = noisy != 0
    assert 0 < int(kept.sum()) < kept.numel()
    assert torch.allclose(noisy[kept], 2 * plain[kept])


def test_token_vectors_are_scaled_before_positions_are_added():
    plain, scaled = embedding(), embedding(scaled_embedding=True)
    batch = padded(ragged((3,), vocab=20))
    tokens, layout = batch.inputs["tokens"], batch.layout["tokens"]
    # the root of 4 is 2
    expected = 2 * plain.tokens.weight[tokens] + plain.positions.weight[:3]
    assert torch.equal(scaled(tokens, layout), expected)

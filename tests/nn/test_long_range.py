from dataclasses import replace

import pytest

from headstart.errors import InputError
from headstart.families import reformer
from headstart.nn.long_range import Axial, Chunking, chunk_multiple, default_buckets

CONFIG = reformer.build(num_layers=2, hidden_size=16, num_heads=2, vocab_size=60).config


def refused(**changes):
    with pytest.raises(InputError) as caught:
        replace(CONFIG, long_range=replace(CONFIG.long_range, **changes))
    return str(caught.value)


def test_sizes_that_do_not_go_together_are_refused():
    assert refused(attn_layers=("lsh",)) == "attn_layers names 1 layers, but num_layers is 2"
    assert refused(num_buckets=(4, 3)) == (
        "num_buckets is [4, 3], but must be one or two even numbers: a vector and its opposite "
        "fall into different buckets"
    )
    assert refused(axial=Axial(shape=(4, 8), widths=(4, 11))) == (
        "axial positions of 4 x 8 and widths 4 + 11 do not go with 512 positions and hidden_size "
        "16: their product must reach the first, their sum be the second"
    )


def test_causal_attention_that_looks_ahead_is_refused():
    ahead = replace(CONFIG.long_range, local=Chunking(after=1))
    with pytest.raises(InputError) as caught:
        replace(CONFIG, causal=True, long_range=ahead)
    assert str(caught.value) == "causal attention sees no chunk after its own: set after to 0"


def test_whole_chunks_of_both_kinds():
    assert chunk_multiple([Chunking(length=4), Chunking(length=6)]) == 12


def test_buckets_are_about_two_a_chunk_and_two_factors_where_there_are_many():
    assert default_buckets(4096, Chunking(length=64)) == (128,)
    assert default_buckets(5000, Chunking(length=64)) == (128,)  # 2 * 78 = 156, down to 128
    assert default_buckets(65536, Chunking(length=64)) == (32, 64)  # 2048, over 2 * 64
    assert default_buckets(32, Chunking(length=64)) == (2,)

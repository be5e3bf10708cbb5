import torch

from headstart.nn.chunks import make_grid, neighbours
from headstart.nn.long_range import Chunking, LongRange
from layouts import packed, ragged

CHUNKS = {"local": Chunking(length=4), "lsh": Chunking(length=6), "num_buckets": (4,)}


def grid_of(lengths, padded, *, length):
    layout = packed(ragged(lengths)).layout["tokens"]
    return layout, make_grid(layout, torch.tensor(padded), length=length)


def test_every_sequence_begins_a_chunk_and_every_token_has_one_place():
    # rows: sequences 0 and 2 (5 + 3 tokens) in the first, sequence 1 (2 tokens) in the second
    layout, grid = grid_of((5, 2, 3), (8, 2, 3), length=4)
    assert grid.first.tolist() == [0, 0, 2, 3]
    assert grid.count.tolist() == [2, 2, 1, 1]
    assert grid.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 0, 1, 2, 3]
    assert grid.filled.int().tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0]
    there = layout.sequence >= 0
    assert torch.equal(grid.slots[grid.place[there]], torch.nonzero(there).flatten())
    assert torch.equal(grid.positions[grid.place[there]], layout.positions[there])


def test_neighbours_go_around_the_ends_of_a_sequence_and_from_round_to_round():
    # a sequence of chunks 0, 1, 2 and one of chunk 3 alone; the second round has 4 to 7
    _, grid = grid_of((12, 4), (12, 4), length=4)
    near = neighbours(grid, rounds=1, before=1, after=1)
    assert near.chunks.tolist() == [[2, 0, 1], [0, 1, 2], [1, 2, 0], [3, 3, 3]]
    assert near.seen.int().tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 1, 0]]
    near = neighbours(grid, rounds=2, before=1, after=0)
    assert near.chunks[:, 0].tolist() == [6, 0, 1, 7, 2, 4, 5, 3]


def test_sequences_longer_than_the_shortest_chunk_fill_whole_chunks_of_both_kinds():
    lengths = torch.tensor([1, 4, 5, 12, 13])
    both = LongRange(attn_layers=("local", "lsh"), **CHUNKS)
    assert both.padded(lengths).tolist() == [1, 4, 12, 12, 24]
    local = LongRange(attn_layers=("local",), **CHUNKS)
    assert local.padded(lengths).tolist() == [1, 4, 8, 12, 16]

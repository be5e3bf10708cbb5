from dataclasses import dataclass

import numpy as np
import pytest

from headstart.batch import Sequences
from headstart.data.loader import Chosen, Stretches, TokenBatches, Windows, permutation


@dataclass
class Held:
    tokens: np.ndarray
    offsets: np.ndarray


def held(sizes) -> Held:
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return Held(np.arange(offsets[-1]).astype(np.uint16), offsets)


def test_windows_put_together_give_the_documents_back():
    sizes = [10, 3, 25, 9, 2]
    source = held(sizes)
    windows = Windows(source, length=9)
    assert windows.lengths.max() <= 9
    for document, size in enumerate(sizes):
        mine = np.flatnonzero(windows.document == document)
        assert windows.order[mine].tolist() == list(range(len(mine)))
        begin = source.offsets[document]
        assert windows.take(mine).tokens.tolist() == list(range(begin, begin + size))


def test_a_long_document_is_cut_evenly_so_that_no_runt_is_left():
    assert Windows(held([17]), length=16).lengths.tolist() == [8, 9]
    assert Windows(held([33]), length=16).lengths.tolist() == [11, 11, 11]


def test_documents_too_short_are_dropped_and_counted():
    windows = Windows(held([0, 1, 5, 0]), length=8)
    assert windows.document.tolist() == [2]
    assert windows.dropped == 3


def test_the_following_window_is_of_the_same_document():
    windows = Windows(held([20, 4, 9]), length=8)  # 3, 1 and 2 windows
    assert windows.following.tolist() == [1, 2, -1, -1, 5, -1]
    assert Windows(held([0]), length=8).following.tolist() == []


def test_a_window_says_which_document_it_is_from():
    taken = Windows(held([20, 4, 9]), length=8).take(np.array([5, 0]))
    assert taken.fields["document"].tolist() == [2, 0]
    assert taken.fields["order"].tolist() == [1, 0]
    assert taken.fields["next"].tolist() == [-1, 6]  # the last one of its document; 0 to 5 of 20
    assert taken.index.tolist() == [5, 0]
    assert taken.tokens.dtype == np.int64


def test_sequences_in_memory_can_be_cut_too():
    lengths = np.array([20, 4, 9])
    sequences = Sequences(np.arange(33), lengths, np.arange(3))
    cut, same = Windows(sequences, length=8), Windows(held(lengths), length=8)
    assert cut.lengths.tolist() == same.lengths.tolist()
    assert cut.take(np.arange(6)).tokens.tolist() == list(range(33))


def some_sequences(count: int = 200, seed: int = 0) -> Sequences:
    lengths = np.random.default_rng(seed).integers(1, 60, count)
    return Sequences(np.arange(lengths.sum()), lengths, np.arange(count))


def test_one_epoch_shows_every_sequence_exactly_once():
    batches = TokenBatches(some_sequences(), tokens_per_batch=300, seed=1)
    for epoch in range(3):
        first = epoch * batches.batches_per_epoch
        seen = [batches.members(first + n) for n in range(batches.batches_per_epoch)]
        assert sorted(np.concatenate(seen).tolist()) == list(range(200))
        assert min(len(members) for members in seen) >= 1


def test_batches_hold_about_the_tokens_asked_for():
    batches = TokenBatches(some_sequences(2000), tokens_per_batch=1000, seed=1)
    sizes = [batches.batch(n).lengths.sum() for n in range(batches.batches_per_epoch)]
    assert np.mean(sizes) <= 1000
    assert max(sizes) <= 1060
    assert min(sizes) >= 900


def test_a_batch_depends_on_its_number_alone_and_not_on_what_was_asked_before():
    one = TokenBatches(some_sequences(), tokens_per_batch=300, seed=7)
    straight = [one.batch(n).tokens.tolist() for n in range(45)]
    other = TokenBatches(some_sequences(), tokens_per_batch=300, seed=7)
    for n in [44, 3, 19, 0, 44]:
        assert other.batch(n).tokens.tolist() == straight[n]


def test_epochs_and_seeds_give_other_orders():
    batches = TokenBatches(some_sequences(), tokens_per_batch=300, seed=7)
    again = TokenBatches(some_sequences(), tokens_per_batch=300, seed=8)
    assert batches.members(0).tolist() != batches.members(batches.batches_per_epoch).tolist()
    assert batches.members(0).tolist() != again.members(0).tolist()


def test_the_order_is_the_same_in_every_release():
    # Fixed by Philox; a change here would break the resuming of every run made before.
    assert permutation(8, 3, 1).tolist() == EXPECTED


EXPECTED = [5, 6, 3, 7, 0, 1, 2, 4]


def test_sequences_longer_than_the_batch_come_one_by_one():
    lengths = np.array([50, 50, 50])
    batches = TokenBatches(
        Sequences(np.arange(150), lengths, np.arange(3)), tokens_per_batch=10, seed=0
    )
    assert batches.batches_per_epoch == 3
    assert sorted(batches.members(n).tolist()[0] for n in range(3)) == [0, 1, 2]


def test_an_empty_source_is_refused():
    empty = Sequences(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="nothing to make batches of"):
        TokenBatches(empty, tokens_per_batch=10, seed=0)


def test_a_least_number_of_windows_is_kept_as_far_as_four_tokens_each_allow():
    windows = Windows(held([20, 9, 5]), length=32, pieces=2)
    assert [int((windows.document == d).sum()) for d in range(3)] == [2, 2, 1]
    assert windows.lengths.tolist() == [10, 10, 4, 5, 5]


def test_windows_of_a_stretch_travel_together():
    source = held([40, 8, 24])
    windows = Windows(source, length=8)  # 5, 1 and 3 windows
    stretches = Stretches(windows, most=2)
    assert stretches.lengths.tolist() == [16, 16, 8, 8, 16, 8]
    taken = stretches.take(np.array([4, 0]))
    assert taken.index.tolist() == [6, 7, 0, 1]
    assert taken.fields["document"].tolist() == [2, 2, 0, 0]
    assert taken.tokens.tolist() == [*range(48, 64), *range(16)]


def test_batches_of_stretches_hold_every_window_once_an_epoch():
    windows = Windows(held([40, 8, 24, 31]), length=8)
    batches = TokenBatches(Stretches(windows, most=2), tokens_per_batch=20, seed=1)
    seen = np.concatenate([batches.batch(n).index for n in range(batches.batches_per_epoch)])
    assert sorted(seen.tolist()) == list(range(len(windows)))


def test_chosen_sequences_are_numbered_anew():
    windows = Windows(held([8, 8, 8]), length=8)
    some = Chosen(windows, np.array([2, 0]))
    assert some.lengths.tolist() == [8, 8]
    assert some.take(np.array([0])).index.tolist() == [2]

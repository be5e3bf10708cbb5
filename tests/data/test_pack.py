import sys

import numpy as np
import pytest
import torch

from headstart.batch import Sequences, even_size
from headstart.data.pack import arrange, lay_out, place


def real_lengths(count: int, seed: int = 0) -> np.ndarray:
    """Skewed like news and reviews: many short, a long tail up to 510."""
    rng = np.random.default_rng(seed)
    return np.clip(np.exp(rng.normal(3.6, 0.7, count)), 3, 510).astype(np.int64)


def check_is_a_layout(lengths, layout):
    size = sum(count * width for count, width in layout.rows)
    assert layout.positions.shape == layout.sequence.shape == (size,)
    seen = np.full(size, -1)
    row_of_slot = np.repeat(
        np.arange(sum(count for count, _ in layout.rows)),
        np.concatenate([np.full(count, width) for count, width in layout.rows]),
    )
    for number, (first, length) in enumerate(zip(layout.first.tolist(), lengths, strict=True)):
        assert (seen[first : first + length] == -1).all(), "two sequences on one slot"
        assert len(set(row_of_slot[first : first + length])) == 1, "a sequence crosses a row"
        seen[first : first + length] = number
        assert layout.positions[first : first + length].tolist() == list(range(length))
    assert layout.sequence.tolist() == seen.tolist()
    assert (layout.positions[layout.sequence < 0] == 0).all()
    assert layout.lengths.tolist() == list(lengths)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_every_sequence_lies_whole_in_one_row_and_keeps_its_number(pack, seed):
    lengths = real_lengths(60, seed)
    check_is_a_layout(lengths, arrange(lengths, pack=pack))


@pytest.mark.parametrize("lengths", [[1], [7], [512], [1, 512], [100] * 30, [300] * 12, [33] * 5])
@pytest.mark.parametrize("pack", [True, False])
def test_awkward_lengths_are_laid_out_too(lengths, pack):
    layout = arrange(np.array(lengths), pack=pack)
    check_is_a_layout(lengths, layout)
    assert waste(layout)[1] <= (4 if pack else 10)


def waste(layout):
    """Share of padding in the rows, and how many blocks; without the filling at the end."""
    rows = [(count, width) for count, width in layout.rows if width > 1]
    area = sum(count * width for count, width in rows)
    return 1 - int(layout.lengths.sum()) / area, len(rows)


@pytest.mark.parametrize("pack", [True, False])
def test_streams_of_many_texts_have_few_different_lengths(pack):
    layouts = [arrange(real_lengths(n, n), pack=pack) for n in range(100, 200)]
    sizes = {len(layout.positions) for layout in layouts}
    assert all(size == even_size(size) for size in sizes)
    assert len(sizes) <= 24
    for layout in layouts:
        check_is_a_layout(layout.lengths.tolist(), layout)
        assert len(layout.positions) - sum(c * w for c, w in layout.rows if w > 1) < 512
    assert len(arrange(np.array([5, 7]), pack=pack).positions) <= 16  # few tokens: no filling


@pytest.mark.parametrize("seed", range(10))
def test_packed_rows_of_realistic_lengths_hold_at_most_five_percent_padding(seed):
    lengths = real_lengths(200, seed)
    layout = arrange(lengths)
    assert layout.packed
    padding, blocks = waste(layout)
    assert blocks <= 4
    assert padding <= 0.05


@pytest.mark.parametrize("seed", range(10))
def test_one_sequence_a_row_wastes_little_and_needs_few_blocks(seed):
    lengths = real_lengths(200, seed)
    layout = arrange(lengths, pack=False)
    assert not layout.packed
    assert sum(count for count, width in layout.rows if width > 1) == 200
    padding, blocks = waste(layout)
    assert blocks <= 10
    assert padding <= 0.18


@pytest.mark.parametrize(("low", "high"), [(200, 513), (3, 60), (90, 140), (500, 2000)])
def test_lengths_that_share_rows_badly_still_waste_little(low, high):
    lengths = np.random.default_rng(0).integers(low, high, 60)
    layout = arrange(lengths)
    check_is_a_layout(lengths, layout)
    padding, blocks = waste(layout)
    assert blocks <= 4
    assert padding <= 0.13


def test_short_documents_are_not_put_into_very_wide_rows():
    # 100 of 30 tokens and two of 500: 3,000 short tokens in rows of 512 would pay for their width.
    layout = arrange(np.array([30] * 100 + [500] * 2))
    in_narrow = sum(count * width for count, width in layout.rows if width <= 256)
    assert in_narrow > 2000


def test_the_row_widths_given_are_the_ones_used():
    layout = arrange(np.array([40, 60, 100, 25]), widths=(128,))
    assert layout.rows == ((2, 128),)  # 100 + 25, 60 + 40
    assert layout.packed


def test_a_sequence_longer_than_every_width_is_refused():
    with pytest.raises(ValueError, match="longest sequence has 200 tokens, but the widest row"):
        arrange(np.array([5, 200]), widths=(64, 128))


def test_an_empty_sequence_is_refused_by_number():
    with pytest.raises(ValueError, match="sequence 1 is empty"):
        arrange(np.array([5, 0, 3]))


def test_no_sequences_give_an_empty_layout():
    layout = arrange(np.zeros(0, dtype=np.int64))
    assert layout.rows == ()
    assert len(layout.positions) == 0


def test_the_work_of_arranging_grows_with_the_documents_and_no_faster():
    def calls(count):
        lengths, made = real_lengths(count), 0

        def seen(frame, event, argument):
            nonlocal made
            made += event in ("call", "c_call")

        sys.setprofile(seen)
        try:
            arrange(lengths)
        finally:
            sys.setprofile(None)
        return made

    calls(200)  # what is imported and remembered the first time
    assert calls(3200) < 20 * calls(200)  # 16 times the documents


@pytest.mark.parametrize("pack", [True, False])
def test_laid_out_tokens_can_be_read_back_with_their_special_tokens(pack):
    lengths = np.array([3, 1, 5, 2])
    tokens = np.arange(10, 21, dtype=np.uint16)
    sequences = Sequences(tokens, lengths, np.arange(4))
    stream, layout = lay_out(sequences, prefix=2, suffix=3, pad=0, pack=pack)
    assert stream.dtype == torch.int64
    read = [
        stream[first : first + length].tolist()
        for first, length in zip(layout.first.tolist(), layout.lengths.tolist(), strict=True)
    ]
    assert read == [[2, 10, 11, 12, 3], [2, 13, 3], [2, 14, 15, 16, 17, 18, 3], [2, 19, 20, 3]]
    assert (stream[layout.sequence < 0] == 0).all()


def test_without_prefix_and_suffix_the_tokens_stand_alone():
    sequences = Sequences(np.array([7, 8, 9]), np.array([2, 1]), np.arange(2))
    stream, layout = lay_out(sequences, prefix=None, suffix=None, pad=5)
    assert layout.lengths.tolist() == [2, 1]
    assert sorted(stream[layout.sequence >= 0].tolist()) == [7, 8, 9]


def test_labels_are_placed_beside_their_tokens():
    lengths = np.array([2, 3])
    sequences = Sequences(np.array([1, 2, 3, 4, 5]), lengths, np.arange(2))
    stream, layout = lay_out(sequences, prefix=100, suffix=101, pad=0)
    labels = place(np.array([10, 20, 30, 40, 50]), lengths, layout, fill=-100, offset=1)
    told = labels != -100
    assert (labels[told] == stream[told] * 10).all()
    assert int(told.sum()) == 5

"""Texts as windows."""

import numpy as np
import pytest

from headstart.tasks import Examples, stratified
from small_tasks import as_sequences


def test_a_text_of_seven_tokens_is_cut_in_two_windows_and_no_token_is_lost():
    texts = as_sequences([np.arange(7), np.arange(10, 13)])
    cut = Examples(texts, window=4, labels=np.array([5, 6]))
    taken = cut.take(np.array([1, 0]))
    assert taken.lengths.tolist() == [3, 3, 4]
    assert taken.fields["document"].tolist() == [1, 0, 0]
    assert taken.fields["labels"].tolist() == [6, 5, 5]
    assert taken.tokens.tolist() == [10, 11, 12, 0, 1, 2, 3, 4, 5, 6]
    assert cut.lengths.tolist() == [7, 3]


def test_a_very_long_text_keeps_its_first_its_last_and_evenly_spread_windows():
    cut = Examples(as_sequences([np.arange(100)]), window=10, max_windows=4)
    taken = cut.take(np.array([0]))
    assert taken.tokens.reshape(4, 10)[:, 0].tolist() == [0, 30, 60, 90]
    assert (cut.thinned, cut.lengths.tolist()) == (1, [40])


def test_an_empty_text_is_one_empty_window():
    cut = Examples(as_sequences([np.arange(0), np.arange(3)]), window=4)
    assert cut.take(np.array([0, 1])).lengths.tolist() == [0, 3]
    assert cut.lengths.tolist() == [1, 3]


def test_batches_hold_every_example_once_longest_first_within_the_budget():
    texts = as_sequences([np.arange(n) for n in (3, 9, 1, 7, 5)])
    batches = list(Examples(texts, window=4).in_batches(14, special=0))
    assert np.concatenate(batches).tolist() == [1, 3, 4, 0, 2]
    assert [texts.lengths[part].sum() for part in batches] == [16, 9]


def test_a_subset_numbers_its_examples_anew_and_keeps_their_windows():
    cut = Examples(as_sequences([np.arange(7), np.arange(5)]), window=4, labels=np.array([1, 2]))
    part = cut.subset(np.array([1]))
    assert part.take(np.array([0])).tokens.tolist() == [0, 1, 2, 3, 4]
    assert part.take(np.array([0])).fields["labels"].tolist() == [2, 2]


def test_labels_must_be_as_many_as_texts():
    with pytest.raises(ValueError, match=r"^1 labels for 2 texts: must be equal$"):
        Examples(as_sequences([np.arange(2)] * 2), window=4, labels=np.zeros(1))


def test_a_stratified_split_keeps_shares_and_never_holds_out_a_class_whole():
    labels = np.array([0] * 60 + [1] * 39 + [2])
    learn, held = stratified(labels, 0.25, seed=3)
    assert np.union1d(learn, held).tolist() == list(range(100))
    assert np.bincount(labels[held], minlength=3)[0] == 15
    assert np.bincount(labels[held], minlength=3)[1] in (9, 10)
    assert 2 in labels[learn]
    again = stratified(labels, 0.25, seed=3)[1]
    other = stratified(labels, 0.25, seed=4)[1]
    assert held.tolist() == again.tolist() != other.tolist()

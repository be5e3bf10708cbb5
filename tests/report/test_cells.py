"""The score table survives a kill at any byte, and draws are nested, paired and spread over
classes."""

import numpy as np
import pytest

from headstart.errors import InputError
from headstart.report.cells import Cell, ScoreTable, draw, pack_correct, unpack_correct

CELLS = [
    Cell("tfidf", 50, 0, 0.61, 0.2, {"C": 10.0}, note="合同"),
    Cell("tfidf", 50, 1, 0.63, 0.2, correct=pack_correct(np.array([True, False, True]))),
    Cell("own", 50, 0, 0.0, 3.0, status="failed", note="out of memory"),
]


def test_a_table_that_is_read_back_is_the_one_that_was_written(tmp_path):
    table = ScoreTable.open(tmp_path / "cells.jsonl")
    for cell in CELLS:
        table.append(cell)
    again = ScoreTable.open(tmp_path / "cells.jsonl")
    assert again.cells == CELLS
    assert again.torn == 0
    assert ("tfidf", 50, 1) in again
    assert again.label_counts == [50]


def test_a_kill_at_any_byte_loses_at_most_the_last_cell_and_the_report_goes_on(tmp_path):
    path = tmp_path / "cells.jsonl"
    table = ScoreTable.open(path)
    for cell in CELLS:
        table.append(cell)
    whole = path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == 10]
    for cut in sorted({*range(0, len(whole), 5), *ends, *(end - 1 for end in ends)}):
        path.write_bytes(whole[:cut])
        torn = ScoreTable.open(path)
        complete = sum(end <= cut for end in ends)
        assert torn.cells == CELLS[:complete]
        assert torn.torn == int(cut not in (0, *ends))
        torn.append(CELLS[2])
        assert ScoreTable.open(path).cells == list(
            {c.key: c for c in [*CELLS[:complete], CELLS[2]]}.values()
        )
        assert ScoreTable.open(path).torn == 0


def test_a_damaged_line_before_the_last_is_named(tmp_path):
    path = tmp_path / "cells.jsonl"
    path.write_text('{"arm": "a"}\n[1]\n')
    with pytest.raises(
        InputError,
        match=r"^cells.jsonl, line 1: not a cell of a report \(.*\). "
        r"Delete this line to compute the cell again$",
    ):
        ScoreTable.open(path)


def test_a_cell_that_is_computed_again_replaces_the_first_one():
    table = ScoreTable(CELLS)
    table.append(Cell("own", 50, 0, 0.7, 3.0))
    assert len(table) == 3
    assert table.scores(["own", "tfidf"]).tolist()[1] == [[0.61], [0.63]]
    assert table.scores(["own"])[0, 0, 0] == 0.7
    assert np.isnan(table.scores(["own"])[0, 1, 0])


def test_right_answers_are_packed_and_found_again_only_where_all_cells_have_them():
    right = np.random.default_rng(0).random(1001) < 0.7
    assert (unpack_correct(pack_correct(right)) == right).all()
    full = ScoreTable([Cell("a", 10, s, 0.5, 1.0, correct=pack_correct(right)) for s in (0, 1)])
    assert (full.correct(["a"])[0, 1, 0] == right).all()
    full.append(Cell("a", 20, 0, 0.5, 1.0))
    assert full.correct(["a"]) is None
    parts = np.array([0.25, -3.5, 0.25], dtype=np.float32)
    assert unpack_correct(pack_correct(parts)).tolist() == parts.tolist()
    odd = np.random.default_rng(0).normal(size=10_000)
    assert unpack_correct(pack_correct(odd)) == pytest.approx(odd, rel=0.004)
    assert len(pack_correct(odd)) < 30_000  # of ranks no two rows add the same
    some = ScoreTable([Cell("a", 10, 0, 0.5, 1.0, correct=pack_correct(parts))])
    assert some.correct(["a"])[0, 0, 0].tolist() == parts.tolist()


@pytest.mark.parametrize("kind", ["classes", "multilabel", "number"])
def test_fewer_labels_are_a_part_of_more_and_every_seed_draws_others(kind):
    rng = np.random.default_rng(0)
    labels = {
        "classes": rng.integers(0, 5, 1000),
        "multilabel": (rng.random((1000, 6)) < 0.2).astype(float),
        "number": rng.standard_normal(1000),
    }[kind]
    sizes = [8, 50, 200, 1000]
    drawn = [draw(labels, n, seed=3, kind=kind) for n in sizes]
    for smaller, larger, n in zip(drawn, drawn[1:], sizes, strict=False):
        assert len(np.unique(smaller)) == n
        assert set(smaller) < set(larger)
    assert draw(labels, 50, seed=3, kind=kind).tolist() == drawn[1].tolist()
    assert draw(labels, 50, seed=4, kind=kind).tolist() != drawn[1].tolist()
    assert len(drawn[3]) == 1000


def test_every_class_is_there_at_few_labels_and_in_proportion_at_many():
    labels = np.repeat([0, 1, 2, 3], [9000, 900, 90, 10])
    for seed in range(20):
        few = np.bincount(labels[draw(labels, 8, seed=seed, kind="classes")], minlength=4)
        assert few.tolist() == [2, 2, 2, 2]
        many = np.bincount(labels[draw(labels, 1000, seed=seed, kind="classes")], minlength=4)
        assert abs(many[0] - 900) < 10
        assert abs(many[1] - 90) < 5
    sparse_control = [
        np.unique(labels[np.random.default_rng(s).choice(10000, 8)]).size for s in range(20)
    ]
    assert max(sparse_control) < 4  # a plain random draw misses the rare class


def test_every_row_is_drawn_equally_often_within_its_class():
    labels = np.repeat([0, 1], [20, 20])
    hits = sum(
        np.bincount(draw(labels, 10, seed=s, kind="classes"), minlength=40) for s in range(800)
    )
    assert hits.min() > 150  # expected 200, sd 12
    assert hits.max() < 250


def test_every_label_is_covered_and_numbers_are_spread():
    rng = np.random.default_rng(1)
    labels = (rng.random((500, 8)) < np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01])).astype(
        int
    )
    assert labels[draw(labels, 8, seed=0, kind="multilabel")].any(axis=0).all()
    values = rng.exponential(size=500)
    drawn = values[draw(values, 10, seed=0, kind="number")]
    quintiles = np.searchsorted(np.quantile(values, [0.2, 0.4, 0.6, 0.8]), drawn)
    assert np.bincount(quintiles, minlength=5).tolist() == [2, 2, 2, 2, 2]


def test_more_rows_than_there_are_is_refused():
    with pytest.raises(
        InputError, match=r"^cannot draw 9 labelled rows out of 4: choose between 1 and 4$"
    ):
        draw(np.zeros(4), 9, seed=0, kind="classes")

import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy import sparse

from headstart.errors import InputError
from headstart.evaluate.transfer import TransferSettings, feature_cache
from headstart.report import arms as module
from headstart.report.arms import (
    Answer,
    Linear,
    Majority,
    Making,
    Neighbours,
    Race,
    Transfer,
    expected_seconds,
    run_arms,
)
from headstart.report.cells import Arm, Cell, ScoreTable
from headstart.report.verdict import judge
from headstart.words import in_language
from small_tasks import labelled, small_start

GOLD = np.array([0, 1, 0, 0])
LABELS = np.array([0, 1] * 50)


@dataclass
class Fake:
    """Answers what it is told, and remembers what it learned from."""

    arm: Arm
    wave: int = 0
    answer: np.ndarray = field(default_factory=GOLD.copy)
    seen: list = field(default_factory=list)
    fault: Exception | None = None

    def run(self, rows, labels, seed, *, poll=None):
        self.seen.append((len(rows), seed, rows.tolist()))
        if self.fault is not None:
            raise self.fault
        return Answer(self.answer, {"lr": 0.1})


def arm(name: str) -> Arm:
    return Arm(name, "control", name, name)


def race(table: ScoreTable, *, seconds: float = 1000.0, notes: list | None = None) -> Race:
    return Race(
        table=table,
        labels=LABELS,
        gold=GOLD,
        kind="classes",
        metric="accuracy",
        counts=(10, 40),
        seeds=(0, 1),
        deadline=time.monotonic() + seconds,
        progress=lambda done, total, what: None,
        note=(notes if notes is not None else []).append,
    )


def test_every_arm_gets_a_cell_for_each_count_and_seed_from_the_same_nested_rows():
    table, first, second = ScoreTable(), Fake(arm("a")), Fake(arm("b"))
    run_arms([first, second], race(table))
    assert len(table) == 8
    assert first.seen == second.seen
    rows = {(count, seed): set(chosen) for count, seed, chosen in first.seen}
    assert rows[10, 0] < rows[40, 0]
    assert rows[10, 0] != rows[10, 1]
    cell = table.get("a", 10, 1)
    assert (cell.score, cell.status, cell.settings) == (1.0, "done", {"lr": 0.1})


def test_scores_are_measured_on_the_test_rows():
    table = ScoreTable()
    run_arms([Fake(arm("a"), answer=np.array([0, 1, 1, 1]))], race(table))
    assert table.get("a", 10, 0).score == 0.5


def test_finished_cells_are_not_run_again_and_skipped_ones_are():
    table = ScoreTable([Cell("a", 10, 0, 0.25, 1.0), Cell("a", 40, 0, 0, 0, status="skipped")])
    one = Fake(arm("a"))
    run_arms([one], race(table))
    assert [(count, seed) for count, seed, _ in one.seen] == [(10, 1), (40, 0), (40, 1)]
    assert table.get("a", 10, 0).score == 0.25


def test_without_time_costly_cells_are_recorded_as_skipped_and_cheap_ones_still_run():
    table = ScoreTable()
    cheap, costly = Fake(arm("cheap")), Fake(arm("costly"), wave=1)
    run_arms([costly, cheap], race(table, seconds=-1.0))
    assert len(cheap.seen) == 4
    assert costly.seen == []
    assert table.get("costly", 40, 1).status == "skipped"
    assert table.get("costly", 40, 1).note == ("needs about 0 s, but 0 s of the budget were left")


def test_few_labels_are_done_for_all_seeds_before_more_labels():
    one, other = Fake(arm("a"), wave=1), Fake(arm("b"), wave=1)
    run_arms([one, other], race(ScoreTable()))
    assert [(count, seed) for count, seed, _ in one.seen] == [(10, 0), (10, 1), (40, 0), (40, 1)]


def test_the_time_of_a_cell_is_expected_from_the_cells_before_it():
    table = ScoreTable([Cell("a", 10, 0, 0.5, 2.0), Cell("a", 10, 1, 0.5, 4.0)])
    assert expected_seconds(table, "a", 10) == 3.0
    assert expected_seconds(table, "a", 40) == 12.0  # four times the labels
    assert expected_seconds(table, "b", 40) == 0.0


@dataclass
class Long(Fake):
    """Takes a step of some seconds for each label, on a clock that only it moves."""

    clock: list = field(default_factory=list)
    step: float = 1.0

    def run(self, rows, labels, seed, *, poll=None):
        self.seen.append((len(rows), seed, rows.tolist()))
        for number in range(1, len(rows) + 1):
            self.clock[0] += self.step
            poll(number, len(rows))
        return Answer(self.answer)


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize("wave", [0, 1])
def test_a_cell_that_cannot_end_in_the_time_left_is_given_up_and_forecasts_count_it(clock, wave):
    table, notes = ScoreTable(), []
    one = Long(arm("a"), wave=wave, clock=clock)
    run_arms([one], race(table, seconds=30.0, notes=notes))
    # 10 labels take 10 s: both seeds fit, and 40 labels are then known to need 40 of the 10 s left
    assert [(count, seed) for count, seed, _ in one.seen] == [(10, 0), (10, 1)]
    assert table.get("a", 40, 0).note == "needs about 40 s, but 10 s of the budget were left"
    assert not notes

    table, notes, began = ScoreTable(), [], clock[0]
    one = Long(arm("a"), wave=wave, clock=clock, step=4.0)
    run_arms([one], race(table, seconds=30.0, notes=notes))
    # nothing is known of the first cell; after 4 of 40 s it is given up, and with it all others
    assert [(count, seed) for count, seed, _ in one.seen] == [(10, 0)]
    assert clock[0] == began + 4.0
    cells = {(c.labels, c.seed): (c.status, c.note, c.needed) for c in table.cells}
    assert cells == {
        (10, 0): ("skipped", "needs about 40 s, but 30 s of the budget were left", 40.0),
        (10, 1): ("skipped", "needs about 40 s, but 26 s of the budget were left", 0.0),
        (40, 0): ("skipped", "needs about 160 s, but 26 s of the budget were left", 0.0),
        (40, 1): ("skipped", "needs about 160 s, but 26 s of the budget were left", 0.0),
    }
    assert notes == [
        "a, 10 labels, seed 0: given up, it needs about 40 s, but 30 s of the budget were left"
    ]
    assert in_language(notes[0], "zh").startswith("a，10 条标注，随机种子 0：放弃")

    run_arms([one], race(table, seconds=1000.0))  # with more time it is all done
    assert {cell.status for cell in table.cells} == {"done"}


def test_when_the_time_is_over_cheap_cells_still_have_some_seconds_together(clock):
    table, began = ScoreTable(), clock[0]
    quick, slow = Long(arm("quick"), clock=clock, step=0.1), Long(arm("slow"), clock=clock)
    costly = Long(arm("costly"), wave=1, clock=clock, step=0.001)
    run_arms([quick, slow, costly], race(table, seconds=-1.0))
    done = [cell.key for cell in table.cells if cell.status == "done"]
    # 1 and 10 s twice, 4 s once or twice of the 30 s; 40 s never; nothing of the costly arm
    assert done == [("quick", 10, 0), ("slow", 10, 0), ("quick", 10, 1), ("slow", 10, 1)] + [
        ("quick", 40, seed) for seed in (0, 1)
    ]
    assert clock[0] - began == pytest.approx(30.0)
    assert table.get("slow", 40, 0).note == "needs about 40 s, but 4 s of the budget were left"
    assert costly.seen == []


def test_a_given_up_cell_is_kept_with_what_it_needs(tmp_path):
    table = ScoreTable.open(tmp_path / "cells.jsonl")
    table.append(Cell("a", 10, 0, 0.0, 0.0, status="skipped", needed=7.0))
    again = ScoreTable.open(tmp_path / "cells.jsonl")
    assert expected_seconds(again, "a", 10) == 7.0
    assert expected_seconds(again, "a", 20) == 14.0
    again.append(Cell("a", 10, 1, 0.5, 3.0))
    assert expected_seconds(again, "a", 10) == 3.0  # what was finished is known better


def test_a_linear_arm_on_many_rows_ends_with_the_time(monkeypatch):
    monkeypatch.setattr(module, "CHEAP_S", 1e-3)
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(100, 500)), rng.normal(size=(4, 500))
    table = ScoreTable()
    one = Linear(arm("linear"), train, test, "classes", others={"other": (train, test)})
    run_arms([one], race(table, seconds=-1.0))
    assert {cell.status for cell in table.cells} == {"skipped"}
    assert table.get("linear", 10, 0).needed > 0  # it was begun, and stopped between two solutions
    run_arms([one], race(table))
    assert {cell.status for cell in table.cells} == {"done"}


def test_an_arm_that_fails_is_recorded_with_its_message_and_the_others_go_on():
    table, notes = ScoreTable(), []
    broken = Fake(arm("broken"), fault=InputError("one class only"))
    run_arms([broken, Fake(arm("a"))], race(table, notes=notes))
    assert table.get("broken", 10, 0).status == "failed"
    assert table.get("broken", 10, 0).note == "one class only"
    assert notes[0] == "broken, 10 labels, seed 0: one class only"
    assert table.get("a", 40, 1).status == "done"


def test_our_own_faults_are_not_hidden_as_failed_cells():
    with pytest.raises(ZeroDivisionError):
        run_arms([Fake(arm("a"), fault=ZeroDivisionError())], race(ScoreTable()))


def test_the_majority_and_a_linear_head_on_separable_features():
    table = ScoreTable()
    train = np.stack([LABELS * 2.0 - 1, np.ones(100)], 1)
    test = np.stack([GOLD * 2.0 - 1, np.ones(4)], 1)
    run_arms(
        [Majority(arm("majority"), 4, "classes"), Linear(arm("linear"), train, test, "classes")],
        race(table),
    )
    assert table.get("majority", 10, 0).score in (0.25, 0.75)
    assert table.get("linear", 10, 0).score == 1.0


@pytest.mark.parametrize("shape", [np.asarray, sparse.csr_matrix])
def test_self_training_learns_from_the_pool_what_no_label_shows(shape):
    # labelled rows show the first feature, test rows the second; only the pool has them together
    sign = 2.0 * LABELS - 1
    train, pool, test = (shape(np.outer(sign, parts)) for parts in ((1, 0), (1, 1), (0, 1)))
    right = {}
    for rounds, given in ((0, pool), (2, pool), (2, None)):
        one = Linear(arm("a"), train, test, "classes", pool=given, rounds=rounds)
        answers = one.run(np.arange(10), LABELS[:10], 0).labels
        right[rounds, given is None] = float((answers == LABELS).mean())
    assert right == {(0, False): 0.5, (2, False): 1.0, (2, True): 0.5}


def clouds(rows: int, seed: int, *, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Points of two overlapping clouds, and which cloud each is of; share: of cloud 1."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) < share * rows).astype(np.int64)
    return rng.normal(size=(rows, 8)) + 0.5 * labels[:, None], labels


def test_a_balanced_linear_head_finds_a_rare_class_more_often():
    train, labels = clouds(200, 1, share=0.1)
    test, _ = clouds(400, 2)
    found = [
        Linear(arm("a"), train, test, "classes", balanced=even)
        .run(np.arange(200), labels, 0)
        .labels.sum()
        for even in (False, True)
    ]
    assert found[1] > found[0] + 20


def test_a_linear_arm_uses_the_features_that_its_own_rows_tell_apart():
    rng = np.random.default_rng(0)
    noise, test = rng.normal(size=(100, 3)), rng.normal(size=(40, 3))
    gold = np.array([0, 1] * 20)
    good = (noise + 5 * LABELS[:, None], test + 5 * gold[:, None])
    rows = np.arange(60)
    plain = Linear(arm("a"), noise, test, "classes").run(rows, LABELS[rows], 0)
    chosen = Linear(arm("a"), noise, test, "classes", others={"after 2 blocks": good})
    answer = chosen.run(rows, LABELS[rows], 0)
    assert (answer.labels == gold).mean() > 0.95 > (plain.labels == gold).mean()
    assert answer.settings["features"] == "after 2 blocks"
    kept = Linear(arm("a"), *good, "classes", others={"after 2 blocks": (noise, test)})
    assert "features" not in kept.run(rows, LABELS[rows], 0).settings
    # with too few rows to cross-validate there is nothing to choose by
    few = np.arange(4)
    assert "features" not in chosen.run(few, LABELS[few], 0).settings


def test_neighbours_answer_from_their_rows_alone():
    train = np.arange(100, dtype=float)[:, None]
    one = Neighbours(arm("n"), train, np.array([[3.2], [71.0]]), "classes")
    answer = one.run(np.array([2, 3, 70, 71]), np.array([0, 1, 0, 1]), 0)
    assert answer.labels.tolist() == [1, 1]
    assert answer.settings == {"neighbours": 1}


def test_the_test_rows_of_a_rare_class_count_in_the_interval_as_they_do_in_the_score():
    rng = np.random.default_rng(0)
    gold = (np.arange(1000) < 10).astype(np.int64)  # 1 % decide half of macro-F1

    def answers(found):
        return np.where(gold == 1, np.arange(1000) < found, rng.random(1000) < 0.002)

    table, setting = ScoreTable(), race(ScoreTable())
    setting = replace(setting, table=table, gold=gold, metric="macro-F1", seeds=range(5))
    own = [Fake(Arm("own", "own", "", ""), answer=answers(8).astype(np.int64))]
    control = [Fake(arm("control"), answer=answers(5).astype(np.int64))]
    run_arms([*own, *control], setting)
    verdict = judge(table, [own[0].arm], [control[0].arm])
    gap = verdict.gaps[0]
    assert gap.mean == pytest.approx(0.08, abs=0.04)
    # three rows more of ten: standard error .145 in the class's recall, some .05 in macro-F1
    assert 0.08 < gap.interval.high - gap.interval.low < 0.35
    assert verdict.kind == "cannot tell"


@dataclass
class Tuned(Long):
    """Chooses its settings for 32 s with the first seed of each label count, then takes 8 s."""

    chosen: set = field(default_factory=set)

    def run(self, rows, labels, seed, *, poll=None):
        once = 0.0 if len(rows) in self.chosen else 32.0
        self.chosen.add(len(rows))
        self.clock[0] += once + 8.0
        return Answer(self.answer, once=once)


def test_what_the_first_seed_chose_for_all_is_not_expected_of_the_others(clock):
    table = ScoreTable()
    setting = replace(race(table, seconds=60.0), counts=(10,), seeds=range(3))
    run_arms([Tuned(arm("scratch"), wave=1, clock=clock)], setting)
    # 40 s, 8 s and 8 s: if each were thought to take 40, the twin would lack seeds that fit
    assert [cell.status for cell in table.cells] == ["done"] * 3
    assert expected_seconds(table, "scratch", 10) == pytest.approx(8.0)
    assert expected_seconds(table, "scratch", 20) == pytest.approx(2 * 56 / 3)  # chosen anew


def test_a_cell_counts_its_share_of_features_that_all_cells_share_and_forecasts_do_not():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(100, 3)), rng.normal(size=(4, 3))
    making = Making(fit_s=50.0, row_s=2.0) + Making(fit_s=10.0)
    entered = [
        Linear(arm("linear"), train, test, "classes", making=making),
        Neighbours(arm("neighbours"), train, test, "classes", making=Making(row_s=3.0)),
    ]
    table = ScoreTable()
    run_arms(entered, race(table))
    for name, before in (
        ("linear", {10: 60 + 2 * 14, 40: 60 + 2 * 44}),
        ("neighbours", {10: 42, 40: 132}),
    ):
        for count, wanted in before.items():
            for cell in table.done(name, labels=count):
                assert cell.before == wanted
                assert wanted < cell.seconds < wanted + 20
            assert expected_seconds(table, name, count) < 20
        assert expected_seconds(table, name, 50) < 20


def test_a_tuned_network_counts_its_encoded_texts_and_the_features_of_its_first_head():
    data = labelled(60)
    train, test = data.take(np.arange(50)), data.take(np.arange(50, 54))
    settings = TransferSettings(precision="fp32", threads=1, epochs=1, min_steps=1, lr=1e-3)
    begin = small_start()
    cache = feature_cache(begin, settings)
    cache.of(train.inputs)
    cache.seconds = 50.0  # one a text
    making = Making(row_s=2.0)  # of the encoded texts
    entered = [
        Transfer(arm("with"), begin, train, test.inputs, "full", settings, 0, cache, making=making),
        Transfer(arm("without"), begin, train, test.inputs, "full", settings, 0),
    ]
    table = ScoreTable()
    run_arms(entered, replace(race(table), labels=train.labels, gold=test.labels, seeds=(0,)))
    assert [cell.before for cell in table.done("with")] == [10 + 2 * 14, 40 + 2 * 44]
    assert [cell.before for cell in table.done("without")] == [0.0, 0.0]


def test_a_report_that_goes_on_does_not_tune_the_twin_again(monkeypatch):
    data = labelled(60)
    train, test = data.take(np.arange(50)), data.take(np.arange(50, 54))
    settings = TransferSettings(precision="fp32", threads=1, epochs=1, min_steps=1)
    fresh = replace(small_start(), pretrained=False)

    def run(table, seeds):
        twin = Transfer(arm("scratch"), fresh, train, test.inputs, "full", settings, 0)
        setting = replace(race(table), labels=train.labels, gold=test.labels, counts=(40,))
        run_arms([twin], replace(setting, seeds=seeds))
        return {cell.seed: cell for cell in table.done("scratch")}

    whole = run(ScoreTable(), (0, 1))
    table = ScoreTable()
    run(table, (0,))
    monkeypatch.setattr(module, "choose", None)  # what goes on must not choose
    after = run(table, (0, 1))
    assert (whole[0].once > 0, whole[1].once, after[1].once) == (True, 0.0, 0.0)
    assert after[1].settings == whole[1].settings
    assert (after[1].score, after[1].correct) == (whole[1].score, whole[1].correct)
    assert after[1].settings["lr"] is not None

"""Metrics on answers small enough to count by hand."""

import numpy as np
import pytest

from headstart.evaluate.metrics import default_metric, of_each_row, score

GOLD = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])


def test_always_naming_the_biggest_class_looks_good_on_accuracy_and_bad_on_macro_f1():
    lazy = np.zeros(10, dtype=int)
    assert score(lazy, GOLD, kind="classes", metric="accuracy").value == pytest.approx(0.8)
    # F1 of class 0: 2*8/(2*8+2) = .889; of class 1: 0; mean .444
    result = score(lazy, GOLD, kind="classes", classes=["no", "yes"])
    assert result.name == "macro-F1"
    assert result.value == pytest.approx(0.4444, abs=1e-4)
    assert result.per_class == pytest.approx({"no": 0.8889, "yes": 0.0}, abs=1e-4)
    assert result.others == pytest.approx({"accuracy": 0.8})


def test_balanced_classes_are_led_by_accuracy():
    assert default_metric(np.array([0, 1, 1, 0, 2]), kind="classes") == "accuracy"


def test_micro_f1_counts_labels_over_all_rows():
    gold = np.array([[1, 0, 1], [0, 1, 0]])
    answers = np.array([[1, 1, 0], [0, 1, 0]])
    # true 2, false alarms 1, missed 1: 2*2 / (2*2 + 1 + 1) = .667
    assert score(answers, gold, kind="multilabel").value == pytest.approx(2 / 3)


def test_numbers_are_ordered_by_spearman_and_a_constant_answer_scores_nothing():
    gold = np.array([1.0, 2.0, 3.0, 4.0])
    squares = score(gold**2, gold, kind="number")
    assert squares.value == pytest.approx(1.0)
    assert squares.others["MAE"] == pytest.approx((0 + 2 + 6 + 12) / 4)
    assert score(np.ones(4), gold, kind="number").value == 0.0


def test_a_metric_of_another_kind_is_refused_with_those_that_suit():
    with pytest.raises(
        ValueError, match=r"^metric is 'R2', but for classes it must be one of: accuracy, macro-F1$"
    ):
        score(GOLD, GOLD, kind="classes", metric="R2")
    with pytest.raises(ValueError, match=r"one of: Spearman, R2$"):
        score(GOLD, GOLD, kind="number", metric="MAE")


def test_answers_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"answers have shape \(3,\), gold labels \(10,\)"):
        score(np.zeros(3), GOLD, kind="classes")


def rare(rng, rows):
    """Gold labels of which 2 % are of the rare class, and answers that are right now and then."""
    gold = (rng.random(rows) < 0.02).astype(np.int64)
    return gold, np.where(rng.random(rows) < np.where(gold, 0.6, 0.99), gold, 1 - gold)


@pytest.mark.parametrize("labels", [1, 4])
@pytest.mark.parametrize("metric", ["accuracy", "macro-F1", "micro-F1"])
def test_rows_add_up_to_the_score_and_vary_as_it_does_over_test_files(metric, labels):
    rng = np.random.default_rng(0)
    kind = "classes" if labels == 1 else "multilabel"
    if (metric == "accuracy") != (kind == "classes") and metric != "macro-F1":
        return

    def one():
        pairs = [rare(rng, 3000) for _ in range(labels)]
        gold, answers = (np.stack(side, 1) for side in zip(*pairs, strict=True))
        gold, answers = (gold[:, 0], answers[:, 0]) if labels == 1 else (gold, answers)
        value = score(answers, gold, kind=kind, metric=metric).value
        rows = of_each_row(answers, gold, metric=metric)
        assert rows.mean() == pytest.approx(value)
        return value, rows.std() / np.sqrt(len(rows))

    values, errors = np.transpose([one() for _ in range(150)])
    assert errors.mean() == pytest.approx(values.std(), rel=0.2)


def test_only_scores_that_rows_add_up_to_are_shared_out():
    assert of_each_row(np.arange(3.0), np.arange(3.0), metric="R2") is None
    level = of_each_row(np.ones(3), np.arange(3.0), metric="Spearman")
    assert level.tolist() == [0.0, 0.0, 0.0]
    nothing = np.zeros((2, 3))
    assert of_each_row(nothing, nothing, metric="micro-F1").tolist() == [0.0, 0.0]
    assert of_each_row(nothing, nothing, metric="macro-F1").tolist() == [0.0, 0.0]


@pytest.mark.parametrize("steps", [1000, 2])
@pytest.mark.parametrize("slope", [0.3, 2.0])
def test_rows_add_up_to_rank_correlation_and_vary_as_it_does_over_test_files(steps, slope):
    rng = np.random.default_rng(0)

    def one():
        gold = rng.exponential(size=400)
        answers = np.round((slope * gold + rng.normal(size=400)) * steps) / steps  # with ties
        gold = np.round(gold * steps) / steps
        rows = of_each_row(answers, gold, metric="Spearman")
        value = score(answers, gold, kind="number").value
        assert rows.mean() == pytest.approx(value)
        return value, rows.std() / np.sqrt(len(rows))

    values, errors = np.transpose([one() for _ in range(400)])
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)

"""Features of a report: of the rows that some cell learns from alone, and the same ones for all."""

import numpy as np
import pytest

from headstart.config import ReportSettings
from headstart.recipes import report_features
from headstart.recipes.report_features import frozen_features
from headstart.report.cells import Arm, draw
from headstart.settings_file import make_settings
from small_tasks import labelled, small_start

ENCODING_S = 100.0  # of all rows together


class Encoded:
    """A medium whose rows are encoded already."""

    def encode(self, rows, start):
        return rows.inputs


@pytest.fixture(autouse=True)
def few_rows_to_centre_by(monkeypatch):
    monkeypatch.setattr(report_features, "CENTRE_ROWS", 7)
    monkeypatch.setattr(report_features, "timed", lambda make: (make(), ENCODING_S))


def made(train, test, **given):
    given = {"machine.precision": "fp32", "machine.device": "cpu", **given}
    settings = make_settings(ReportSettings, given=given)
    return frozen_features(small_start(), [train, test], Encoded(), settings), settings


def test_only_rows_of_some_cell_are_read_and_their_features_are_those_of_a_report_of_all():
    train, test = labelled(80, seed=1), labelled(9, seed=2)
    few, settings = made(train, test, labels=["4", "6"], seeds=3, seed=5)
    everything, _ = made(train, test, labels=["all"], seeds=1)
    drawn = [draw(train.labels, 6, seed=seed, kind="classes") for seed in (5, 6, 7)]
    known = np.flatnonzero(np.isfinite(few.sides[0]).all(1))
    centre = np.sort(np.random.default_rng(0x63656E).permutation(80)[:7])
    assert set(known) == set(np.concatenate([*drawn, centre]))
    assert few.cache.read == len(known) + 9 < 40
    assert everything.cache.read == 89
    np.testing.assert_allclose(few.sides[0][known], everything.sides[0][known], atol=1e-5)
    np.testing.assert_allclose(few.sides[1], everything.sides[1], atol=1e-5)
    middle = everything.cache.of(train.take(centre).inputs).mean(0)
    raw = everything.cache.of(test.inputs) - middle
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(everything.sides[1], raw / lengths, atol=1e-6)
    arm = few.arm(Arm("a", "own", "A", "A"), "classes", settings)
    read = few.cache.read
    assert few.cache.seconds > 0
    assert arm.making.row_s == few.cache.seconds / read + ENCODING_S / read
    answer = arm.run(drawn[0], train.labels[drawn[0]], 5)
    assert answer.before == pytest.approx(arm.making.row_s * (6 + 9))

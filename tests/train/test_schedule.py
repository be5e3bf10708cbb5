import math

import pytest

from headstart.errors import InputError
from headstart.train.schedule import Schedule, step_progress


def test_warmup_stable_and_decay_have_the_numbers_computed_by_hand():
    schedule = Schedule(warmup=0.1, decay=0.4, floor=0.2)
    assert schedule.factor(0.0) == 0.0
    assert schedule.factor(0.05) == pytest.approx(0.5)  # half of the warm-up
    assert schedule.factor(0.1) == 1.0
    assert schedule.factor(0.6) == 1.0
    assert schedule.factor(0.8) == pytest.approx(0.6)  # 0.2 + 0.8 * 0.2 / 0.4
    assert schedule.factor(1.0) == pytest.approx(0.2)


def test_cosine_decay_falls_as_half_a_cosine():
    schedule = Schedule(warmup=0.0, decay=1.0, shape="cosine")
    for progress in (0.1, 0.25, 0.5, 0.9):
        assert schedule.factor(progress) == pytest.approx((1 + math.cos(math.pi * progress)) / 2)


def test_the_factor_is_continuous_where_the_parts_meet():
    schedule = Schedule(warmup=0.06, decay=0.3, shape="cosine")
    for edge in (0.06, 0.7):
        assert schedule.factor(edge - 1e-9) == pytest.approx(schedule.factor(edge + 1e-9), abs=1e-6)


def test_no_step_of_a_run_has_the_factor_zero():
    schedule = Schedule()
    factors = [schedule.factor(step_progress(step, 10)) for step in range(10)]
    assert min(factors) > 0
    assert factors[0] == pytest.approx(0.05 / 0.06)  # middle of step 1 is at 0.05


def test_progress_outside_of_the_budget_is_clamped():
    assert Schedule(floor=0.5).factor(1.7) == 0.5
    assert Schedule().factor(-1.0) == 0.0


def test_warmup_and_decay_longer_than_the_run_are_refused():
    with pytest.raises(InputError) as error:
        Schedule(warmup=0.3, decay=0.8)
    assert str(error.value) == (
        "warmup 0.3 and decay 0.8 together are more than the whole run; set decay to at most 0.7"
    )

import pytest

from headstart.errors import InputError
from headstart.train.budget import (
    Plan,
    Timing,
    counted_steps,
    forecast_s,
    read_budget,
    spread_plan,
    timed_plan,
)
from toy_training import Sequence


def steps(text: str, *, source: object = None, accumulate: int = 1, tokens: tuple[int, ...] = ()):
    return counted_steps(
        read_budget(text), source=source, accumulate=accumulate, tokens_per_batch=tokens
    )


def test_steps_tokens_and_epochs_are_counted_by_hand():
    assert steps("500 steps") == 500
    # 1000 tokens / (25 a batch x 2 batches a step) = 20 steps
    assert steps("1k tokens", accumulate=2, tokens=(20, 30)) == 20
    # 3 epochs x 7 batches / 2 batches a step = 10.5, rounded up
    assert steps("3 epochs", source=Sequence(), accumulate=2) == 11


def test_epochs_of_a_source_without_epochs_are_refused():
    with pytest.raises(InputError) as error:
        steps("3 epochs", source=object())
    assert str(error.value) == (
        "the budget '3 epochs' is in epochs, but this source does not say how many batches one "
        "epoch has; give the budget in steps, tokens or time"
    )


def test_a_budget_without_a_unit_is_refused():
    with pytest.raises(InputError, match=r"^budget '30' must be a time such as 30m.*30m$"):
        read_budget("30")


def test_a_timed_plan_fits_into_its_time_with_probes_and_calibration():
    timing = Timing(step_s=0.5, probe_s=0.5, spent_s=7.0)
    plan = timed_plan(100.0, timing, save_every=0, probe_every=0, probes=10)
    # 97 - 7 = 90 s left; 10 probes take 5 s; 85 s / 0.5 s = 170 steps, a probe every 17
    assert plan == Plan(total=170, save_every=17, probe_every=17)


def test_slow_probes_are_taken_less_often():
    timing = Timing(step_s=0.5, probe_s=2.0, spent_s=0.0)
    plan = timed_plan(100.0, timing, save_every=5, probe_every=0, probes=10)
    # at most 5 s for probes: 2 of them; (97 - 4) / 0.5 = 186 steps
    assert plan == Plan(total=186, save_every=5, probe_every=93)


def test_probes_at_a_fixed_interval_are_paid_from_the_budget():
    timing = Timing(step_s=0.5, probe_s=2.0, spent_s=0.0)
    plan = timed_plan(100.0, timing, save_every=0, probe_every=4, probes=10)
    assert plan.total == 97  # 97 s / (0.5 + 2 / 4)
    assert plan.probe_every == 4


def test_there_is_always_at_least_one_step():
    timing = Timing(step_s=50.0, probe_s=0.0, spent_s=60.0)
    assert timed_plan(10.0, timing, save_every=0, probe_every=0, probes=0) == Plan(1, 1, 0)
    assert spread_plan(3, 0, 0, 10) == Plan(3, 1, 1)


def test_the_forecast_uses_the_median_step():
    assert forecast_s([1.0, 1.0, 90.0], done=3, total=13) == 10.0
    assert forecast_s([1.0, 3.0], done=2, total=4) == 4.0
    assert forecast_s([], done=0, total=4) == 0.0

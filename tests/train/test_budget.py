import pytest

from headstart.errors import InputError
from headstart.train.budget import (
    Plan,
    counted_steps,
    forecast_s,
    read_budget,
    spread_plan,
    timed_steps,
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


def test_timed_steps_fit_into_their_time_with_calibration_and_probes():
    # 97 - 7 = 90 s left, at 0.5 s a step; with probes 4 s less
    assert timed_steps(100.0, step_s=0.5, spent_s=7.0, probing=False) == 180
    assert timed_steps(100.0, step_s=0.5, spent_s=7.0, probing=True) == 172


def test_probes_that_cannot_read_less_are_spread_as_asked():
    assert spread_plan(170, 0, 0, 10) == Plan(total=170, save_every=17, probe_every=17)
    assert spread_plan(97, 5, 4, 10) == Plan(total=97, save_every=5, probe_every=4)


def test_cheap_probes_read_all_and_dear_ones_become_fewer_and_then_smaller():
    # 4 % of a million tokens are 40,000
    cheap = spread_plan(100, 0, 0, 10, trained=1e6, reads=3_000)
    assert cheap == Plan(100, 10, probe_every=10, probe_tokens=3_000)  # 11 times 3,000
    fewer = spread_plan(100, 0, 0, 10, trained=1e6, reads=8_000)
    assert fewer == Plan(100, 10, probe_every=25, probe_tokens=8_000)  # 5 times 8,000
    smaller = spread_plan(100, 0, 0, 10, trained=1e6, reads=100_000)
    assert smaller == Plan(100, 10, probe_every=100, probe_tokens=20_000)  # twice 20,000
    often = spread_plan(100, 0, 5, 10, trained=1e6, reads=100_000)
    assert often == Plan(100, 10, probe_every=5, probe_tokens=1_904)  # as often as asked: 21 times


def test_there_is_always_at_least_one_step():
    assert timed_steps(10.0, step_s=50.0, spent_s=60.0, probing=False) == 1
    assert spread_plan(1, 0, 0, 0) == Plan(1, 1, 0)
    assert spread_plan(3, 0, 0, 10) == Plan(3, 1, 1)


def test_the_forecast_uses_the_median_step():
    assert forecast_s([1.0, 1.0, 90.0], done=3, total=13) == 10.0
    assert forecast_s([1.0, 3.0], done=2, total=4) == 4.0
    assert forecast_s([], done=0, total=4) == 0.0

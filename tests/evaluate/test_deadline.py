"""Work that cannot end in its time stops early, and what it would have taken is known."""

import time
from dataclasses import replace

import numpy as np
import pytest

from headstart.evaluate import deadline, neighbours
from headstart.evaluate.baselines import FOLDS, GRID, fit_linear
from headstart.evaluate.deadline import Deadline, OutOfTime, part
from headstart.evaluate.self_training import self_train
from headstart.evaluate.transfer import candidates, choose, transfer
from headstart.evaluate.transfer_settings import TransferSettings
from small_tasks import labelled, small_start


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told."""
    now = [100.0]
    monkeypatch.setattr(deadline.time, "monotonic", lambda: now[0])
    return now


def test_a_deadline_stops_what_is_past_it_or_will_be_at_the_pace_so_far(clock):
    poll = Deadline(end=110.0)
    poll()
    poll(1, 1000)  # no time was used, so nothing is known
    clock[0] = 100.9
    poll(1, 1000)  # less than a tenth of the time: the pace is not believed yet
    clock[0] = 102.0
    poll(1, 5)  # ten seconds in all are just what there is
    with pytest.raises(OutOfTime) as caught:
        poll(1, 6)
    assert caught.value.needed == 12.0  # 2 s for each of 6 parts
    assert str(caught.value) == "needs about 12 s, but 10 s of the budget were left"
    clock[0] = 110.5
    with pytest.raises(OutOfTime) as caught:
        poll()
    assert caught.value.needed == 10.5


def test_parts_of_the_work_count_as_parts_of_the_whole():
    heard = []
    whole = part(lambda done=0.0, total=1.0: heard.append((done, total)), 0.5, 0.5)
    inner = part(whole, 0.2, 0.4)
    whole(1, 4)
    inner(1, 2)
    inner()
    # 0.5 + 0.5 / 4; 0.5 + 0.5 * (0.2 + 0.4 / 2); 0.5 + 0.5 * 0.2
    assert heard == [(0.625, 1.0), (pytest.approx(0.7), 1.0), (pytest.approx(0.6), 1.0)]


def rows(count=60, width=8):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    return rng.normal(size=(count, width)) + labels[:, None], labels


def test_a_linear_head_polls_between_its_solutions_and_is_the_same():
    features, labels = rows()
    heard = []
    polled = fit_linear(
        features, labels, kind="classes", seed=0, poll=lambda *parts: heard.append(parts)
    )
    fits = FOLDS * len(GRID)
    assert heard == [(n, fits + 1) for n in range(1, fits + 1)]
    plain = fit_linear(features, labels, kind="classes", seed=0)
    assert np.array_equal(plain.weight, polled.weight)
    assert plain.strength == polled.strength


class Stop(Exception):
    pass


def stop_after(calls):
    """A poll that raises when it is called once too often."""
    count = [0]

    def poll(done=0.0, total=1.0):
        count[0] += 1
        assert count[0] <= calls + 1, "what was stopped goes on"
        if count[0] > calls:
            raise Stop

    return poll


def test_self_training_stops_in_any_of_its_rounds():
    features, labels = rows()
    head = fit_linear(features[:20], labels[:20], kind="classes", seed=0)
    for calls in (0, FOLDS * len(GRID) + 3):
        with pytest.raises(Stop):
            self_train(
                head, features[:20], labels[:20], features, rounds=2, seed=0, poll=stop_after(calls)
            )


def test_neighbours_poll_with_the_rows_that_are_answered_for(monkeypatch):
    monkeypatch.setattr(neighbours, "AT_ONCE", 20)
    features, labels = rows()
    heard = []
    given = {"kind": "classes", "seed": 0}
    answers, count = neighbours.by_neighbours(
        features, labels, features, poll=lambda *parts: heard.append(parts[0]), **given
    )
    # 60 rows answered for inside the labels, then 60 others: 20 at once
    assert heard == [pytest.approx(n / 6) for n in range(6)]
    plain, same = neighbours.by_neighbours(features, labels, features, **given)
    assert (answers.tolist(), count) == (plain.tolist(), same)


@pytest.mark.parametrize("calls", [0, 5, 25])
def test_choosing_and_training_fresh_weights_stop_at_any_step(calls):
    examples, start = labelled(40), replace(small_start(), pretrained=False)
    how = TransferSettings(epochs=2, min_steps=10)
    options = candidates(start, examples, "full", how)
    with pytest.raises(Stop):
        choose(start, examples, options, seed=0, poll=stop_after(calls))
    if calls < 10:
        choice = choose(start, examples, options[:1], seed=0)
        with pytest.raises(Stop):
            transfer(start, examples, "full", settings=how, choice=choice, poll=stop_after(calls))


def test_training_that_cannot_end_in_time_says_what_it_would_have_taken():
    examples, start = labelled(40), replace(small_start(), pretrained=False)
    how = TransferSettings(epochs=2, min_steps=100_000, max_steps=100_000)
    options = candidates(start, examples, "full", how)
    choice = choose(start, examples, options[:1], seed=0)
    end, asked = Deadline(end=time.monotonic() + 1.0), []

    def poll(*at):
        asked.append(at)
        end(*at)

    with pytest.raises(OutOfTime) as caught:
        transfer(
            start,
            examples,
            "full",
            settings=how,
            choice=choice,
            poll=poll,
        )
    assert len(asked) < 50_000  # of 100,000 steps
    assert caught.value.needed > 10.0

"""The time of a report: all calls count, and a kill loses seconds, not what came before it."""

import json
import time

from headstart.recipes import clock
from headstart.recipes.clock import Clock


def test_the_time_that_passes_is_on_disk_before_a_call_ends_and_the_next_one_counts_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(clock, "BEAT_S", 0.01)
    place, found, begin = tmp_path / "spent.json", [], time.monotonic() - 7.0

    def on_disk(least):  # a kill at this moment would leave it
        while True:
            if place.exists() and (seconds := json.loads(place.read_text())["seconds"]) > least:
                return seconds

    with Clock(tmp_path, begin=begin) as first:
        found += [on_disk(0.0), on_disk(7.02)]
        assert found[-1] <= first.seconds
    assert json.loads(place.read_text())["seconds"] >= found[-1]
    with Clock(tmp_path, begin=time.monotonic()) as second:
        assert second.seconds >= second.earlier >= found[-1] > 7
        second.forget(most=3.0)
        assert second.earlier == 3.0
    assert 3.0 <= json.loads(place.read_text())["seconds"] < 7.0

"""The time of a report: all calls count, and a kill loses seconds, not what came before it."""

import json

from headstart.events import Silent
from headstart.recipes import report_time
from headstart.recipes.report_time import Spending


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


class Heard(Silent):
    def __init__(self):
        self.heard = []

    def plan(self, lines):
        self.heard.append(("plan", *lines))

    def progress(self, stage, done, total, detail=""):
        self.heard.append((stage, done, total, detail))

    def note(self, text):
        self.heard.append(("note", text))


def test_time_is_written_down_while_progress_is_told_and_counts_after_a_kill(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(report_time, "time", clock)
    first = Spending(tmp_path, Silent())
    clock.now += 9
    first.progress("arms", 1, 9)
    assert not (tmp_path / "spent.json").exists()
    clock.now += 3
    first.progress("arms", 2, 9)
    clock.now += 4  # killed here: these seconds alone are lost
    assert json.loads((tmp_path / "spent.json").read_text()) == {"seconds": 12.0}
    again = Spending(tmp_path, Silent())
    clock.now += 5
    assert again.seconds == 17.0
    again.leave_out(but=10.0)
    assert again.seconds == 15.0
    again.write()
    assert json.loads((tmp_path / "spent.json").read_text()) == {"seconds": 15.0}


def test_everything_is_passed_on(tmp_path):
    heard = Heard()
    events = Spending(tmp_path, heard)
    events.plan(["a", "b"])
    events.progress("arms", 1, 2, "lsa")
    events.note("c")
    assert heard.heard == [("plan", "a", "b"), ("arms", 1, 2, "lsa"), ("note", "c")]

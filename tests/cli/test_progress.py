"""The progress display: lines where nobody watches, bars where somebody does."""

import io

import pytest

from headstart.cli import progress
from headstart.cli.progress import Bars, Lines, listener, stage_name, time_left
from headstart.words import say


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    state = {"now": 100.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: state["now"])
    return state


def test_lines_come_at_the_start_at_intervals_and_at_the_end(clock):
    out = io.StringIO()
    events = Lines("en", stream=out, every_s=10)
    for second in range(0, 41):
        clock["now"] = 100.0 + second
        events.progress("pretrain", second, 40, f"loss {second}")
    assert out.getvalue().splitlines() == [
        "pretraining   0% · loss 0",
        "pretraining  25% · loss 10 · 30s left",
        "pretraining  50% · loss 20 · 20s left",
        "pretraining  75% · loss 30 · 10s left",
        "pretraining 100% · loss 40",
    ]


def test_a_finished_stage_is_said_once(clock):
    out = io.StringIO()
    events = Lines("en", stream=out)
    events.progress("save", 1, 1)
    clock["now"] += 60
    events.progress("save", 1, 1)
    assert out.getvalue() == "saving 100%\n"


def test_a_stage_of_unknown_length_counts(clock):
    out = io.StringIO()
    Lines("en", stream=out).progress("read", 12_000, 0)
    assert out.getvalue() == "reading 12,000\n"


def test_the_time_left_counts_from_where_a_resumed_stage_began():
    # 10 s for the steps 50 to 60; 40 more steps take 40 s, not 6.7 s as 60 steps in 10 s would say.
    assert time_left(0.0, 50, 10.0, 60, 100, "en") == "40s left"
    assert time_left(0.0, 0, 10.0, 0, 100, "en") == ""
    assert time_left(0.0, 0, 10.0, 100, 100, "en") == ""


def test_plan_and_notes_follow_the_language():
    out = io.StringIO()
    events = Lines("zh", stream=out)
    events.plan([say("plan_budget", budget="30m"), "as it is"])
    events.note(say("plan_few"))
    assert out.getvalue() == (
        "计划\n  预算 30m\n  as it is\n预算不足以遍历语料一遍：更大的预算会有帮助\n"
    )


def test_a_stage_without_a_translation_keeps_its_name():
    assert stage_name("pretrain", "zh") == "预训练"
    assert stage_name("lsh", "zh") == "lsh"


def test_bars_are_for_terminals_only(monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(listener("en"), Bars)
    assert isinstance(listener("en", plain=True), Lines)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    assert isinstance(listener("en"), Lines)


def test_what_a_stage_is_at_is_said_in_the_language_of_the_screen(capsys, clock):
    out = io.StringIO()
    lines = Lines("zh", stream=out)
    lines.progress("pretrain", 0, 4, say("step_tokens", loss=4.25, rate=12_345.4))
    lines.progress("arms", 0, 4, say("cell_now", arm="own-probe", labels=50, seed=1))
    lines.progress("finetune", 4, 4, say("step_loss", loss=0.5))
    assert out.getvalue().splitlines() == [
        "预训练   0% · 损失 4.250  每秒 12,345 个词元",
        "比较各方案   0% · own-probe，50 条标注，随机种子 1",
        "微调 100% · 损失 0.500",
    ]
    with Bars("zh") as events:
        events.progress("pretrain", 4, 4, say("step_pairs", loss=4.1, rate=30))
    assert "损失 4.100  每秒 30 个图文对" in capsys.readouterr().err
    assert say("step_images", loss=4.1, rate=30) == "loss 4.100  30 images/s"


def test_bars_show_each_stage_once_with_its_detail(capsys):
    with Bars("en") as events:
        events.plan([say("plan_budget", budget="30m")])
        events.progress("pretrain", 1, 4, "loss 4.2")
        events.progress("pretrain", 4, 4, "loss 4.1")
        events.note("[not markup]")
    shown = capsys.readouterr().err
    assert "budget 30m" in shown
    assert "[not markup]" in shown
    assert shown.count("pretraining") == 1
    assert "100%" in shown
    assert "loss 4.1" in shown

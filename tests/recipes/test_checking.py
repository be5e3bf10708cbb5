"""What `check` shows: every kind of problem, however many there are of one."""

import pytest

from headstart.data.check import CheckReport
from headstart.data.record import problem
from headstart.recipes.checking import CheckResult
from headstart.words import in_language


def found(*kinds):
    """A check that found so many problems of each number."""
    problems = [
        problem(number, "warn", source="a.csv", line=line, message="bad.", fix="")
        for number, count in kinds
        for line in range(1, count + 1)
    ]
    report = CheckReport(50, 50, 0, 0, tuple(problems), ("note",), {}, 0)
    return [line for _, line in CheckResult(report).facts()]


def test_few_problems_are_all_shown():
    lines = found((34, 19), (26, 1))
    assert lines[1] == "50 rows: 50 accepted, 0 set aside, 0 rejected"
    assert len(lines) == 22
    assert lines[-1].startswith("W-DATA-026 a.csv:1: bad.")


def test_of_many_the_first_of_each_kind_are_shown_and_the_others_counted():
    lines = found((34, 1300), (26, 2), (61, 7))
    codes = [line.partition(" ")[0] for line in lines[2:-1]]
    assert codes == ["W-DATA-034"] * 5 + ["W-DATA-026"] * 2 + ["W-DATA-061"] * 5
    assert lines[-1] == "... and 1,297 more (--json lists all): W-DATA-034 1,295, W-DATA-061 2"
    assert in_language(lines[-1], "zh").startswith("……另有 1,297 处（--json 列出全部）：")


@pytest.mark.parametrize("count", [4, 5])
def test_nothing_is_counted_as_more_where_all_are_shown(count):
    lines = found(*((number, count) for number in range(1, 8)))
    assert len(lines) == 2 + 7 * count
    assert "more" not in lines[-1]

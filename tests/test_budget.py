"""Budgets as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.budget import ALLOWED, Budget, format_seconds, parse_budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("30m", Budget(1800, "seconds")),
        ("1h30m", Budget(5400, "seconds")),
        ("1.5h", Budget(5400, "seconds")),
        ("90s", Budget(90, "seconds")),
        ("2d", Budget(172_800, "seconds")),
        ("1 h 30 m", Budget(5400, "seconds")),
        ("2000 steps", Budget(2000, "steps")),
        ("1 step", Budget(1, "steps")),
        ("50M tokens", Budget(50_000_000, "tokens")),
        ("2.5k tokens", Budget(2500, "tokens")),
        ("0.5 epochs", Budget(0.5, "epochs")),
    ],
)
def test_a_budget_is_read_as_people_write_it(text, budget):
    assert parse_budget(text) == budget


@given(
    st.one_of(
        st.builds(Budget, st.integers(1, 10**7).map(float), st.just("seconds")),
        st.builds(Budget, st.integers(1, 10**9).map(float), st.sampled_from(["steps", "tokens"])),
    )
)
def test_a_written_budget_reads_back_as_itself(budget):
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("30", f"must be {ALLOWED}; 30 of what? For minutes write 30m"),
        ("12:30", f"must be {ALLOWED}; for 12 minutes and 30 seconds write 12m30s"),
        ("", f"must be {ALLOWED}"),
        ("soon", f"must be {ALLOWED}"),
        ("-5m", f"must be {ALLOWED}"),
        ("0m", "must be more than nothing"),
    ],
)
def test_a_wrong_budget_is_refused_with_what_to_write(text, message):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole message is compared
        parse_budget(text)
    assert str(refused.value) == message


def test_seconds_are_shown_in_the_largest_units_that_fit():
    assert [format_seconds(s) for s in (0, 1, 61, 3600, 90_061)] == [
        "0s",
        "1s",
        "1m1s",
        "1h",
        "1d1h1m1s",
    ]

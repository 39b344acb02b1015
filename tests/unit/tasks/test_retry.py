"""When a failed run is repeated."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq_core.tasks.retry import Retry, RetryPolicy


def test_without_retries_a_failed_run_is_the_last() -> None:
    assert RetryPolicy().next(1) is None
    assert RetryPolicy().next(1, asked=5.0) is None


def test_as_many_runs_follow_the_first_as_the_policy_says() -> None:
    policy = RetryPolicy(retries=2)
    assert [policy.next(attempt, draw=lambda: 1.0) for attempt in (1, 2, 3)] == [1.0, 2.0, None]


def test_the_ceiling_doubles_up_to_the_most_and_the_draw_is_between_nothing_and_it() -> None:
    policy = RetryPolicy(retries=20, base=0.5, most=10.0)
    assert [policy.delay(attempt, lambda: 1.0) for attempt in range(1, 8)] == [0.5, 1, 2, 4, 8, 10, 10]
    assert policy.delay(5, lambda: 0.0) == 0.0
    assert policy.delay(5, lambda: 0.25) == 2.0


def test_a_delay_that_the_task_asks_for_stays_within_its_retries() -> None:
    policy = RetryPolicy(retries=1)
    assert policy.next(1, asked=0.0) == 0.0
    assert policy.next(1, asked=3600.0) == 3600.0
    assert policy.next(2, asked=1.0) is None


@given(
    attempt=st.integers(1, 10**6),
    retries=st.integers(0, 1000),
    base=st.floats(0.001, 1e6),
    most=st.floats(0.001, 1e6),
    draw=st.floats(0, 1),
)
def test_any_policy_gives_a_delay_within_its_bounds(
    attempt: int, retries: int, base: float, most: float, draw: float
) -> None:
    delay = RetryPolicy(retries, base, most).next(attempt, draw=lambda: draw)
    assert (delay is None) == (attempt > retries)
    assert delay is None or 0 <= delay <= most


def test_retry_says_why_and_when() -> None:
    assert (str(Retry()), Retry().delay) == ("the task asked to be run again", None)
    assert (str(Retry("no token yet", delay=2)), Retry("", delay=2).delay) == ("no token yet", 2.0)


def test_a_delay_is_a_float_whatever_number_it_was() -> None:
    delay = Retry(delay=Decimal("1.5")).delay  # type: ignore[arg-type]
    assert (type(delay), delay) == (float, 1.5)


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), 1e12])
def test_a_delay_that_is_none_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match=r"takes 0 to 31536000 seconds, got"):
        Retry(delay=delay)

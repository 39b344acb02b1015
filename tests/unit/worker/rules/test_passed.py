"""The parts of the log that are asked about: those that were passed, and those past the end."""

from __future__ import annotations

from yadtq_core.model import Partition
from yadtq_core.worker.rules.passed import AGAIN_SECONDS, ENDS_SECONDS, Passed, lost_at_end

P0, P1 = Partition("default", 0), Partition("other", 1)


def test_what_was_passed_is_asked_when_it_has_moved_and_again_half_a_minute_later() -> None:
    passed = Passed()
    assert passed.ranges({P0: 5, P1: 0}, 100.0) == {"default": [(0, 0, 5)]}
    assert passed.ranges({P0: 5, P1: 7}, 101.0) == {"other": [(1, 0, 7)]}
    assert passed.ranges({P0: 5, P1: 7}, 102.0) == {}, "a backlog that stands still costs nothing"
    assert passed.ranges({P0: 5, P1: 7}, 100.0 + AGAIN_SECONDS) == {"default": [(0, 0, 5)]}


def test_a_partition_that_comes_back_is_asked_about_at_once() -> None:
    passed = Passed()
    passed.ranges({P0: 5}, 100.0)
    passed.ranges({}, 101.0)
    assert passed.ranges({P0: 5}, 102.0) == {"default": [(0, 0, 5)]}


def test_ends_are_due_when_a_partition_is_gained_every_ten_seconds_and_when_a_log_has_restarted() -> None:
    passed = Passed()
    assert passed.ends_due([P0], 100.0) == [P0]
    assert passed.ends_due([P0, P1], 101.0) == [P1]
    assert passed.ends_due([P0, P1], 100.0 + ENDS_SECONDS) == [P0]
    passed.ranges({P0: 5}, 110.0)
    passed.ask_again("default")
    assert passed.ends_due([P0, P1], 110.5) == [P0]
    assert passed.ranges({P0: 5}, 110.5) == {"default": [(0, 0, 5)]}


def test_a_record_at_or_past_the_end_is_lost_and_one_before_it_waits() -> None:
    assert lost_at_end({0: 9, 1: 9, 2: 9}, {0: 10, 1: 9, 2: 4}) == [(1, 9, 10), (2, 4, 10)]
    assert lost_at_end({3: 9}, {}) == [], "an end that is not known shows nothing"

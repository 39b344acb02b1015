"""A worker without a free slot: when it offers, leaves the group, and joins again."""

from __future__ import annotations

from yadtq_core.worker.rules.saturation import Saturation


def full(since: float) -> Saturation:
    made = Saturation()
    made.note(0, since)
    return made


def test_it_offers_after_a_second_without_a_free_slot() -> None:
    saturation = full(10.0)
    assert not saturation.offers(11.0)
    assert saturation.offers(11.1)
    saturation.note(1, 11.2)
    saturation.note(0, 11.3)
    assert not saturation.offers(12.3)
    assert saturation.offers(12.4)


def test_it_may_leave_after_three_seconds_and_once_in_half_a_minute() -> None:
    saturation = full(10.0)
    assert not saturation.may_leave(13.0)
    assert saturation.may_leave(13.1)
    saturation.left(13.1)
    assert not saturation.may_leave(43.0)
    assert saturation.may_leave(43.2)


def test_it_may_join_when_a_slot_has_been_free_for_a_second() -> None:
    saturation = full(10.0)
    assert not saturation.may_join(20.0)
    saturation.note(1, 20.0)
    assert not saturation.may_join(20.9)
    assert saturation.may_join(21.0)


def test_it_may_join_after_half_a_minute_in_which_a_slot_was_free_for_a_moment() -> None:
    saturation = full(10.0)
    saturation.left(14.0)
    assert not saturation.may_join(50.0), "no slot has been free"
    for at in (20.0, 30.0):
        saturation.note(1, at)
        saturation.note(0, at + 0.1)
    assert not saturation.may_join(44.0)
    assert saturation.may_join(44.1)

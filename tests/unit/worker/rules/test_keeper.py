"""The keeper's clockwork, and what silence of the backend means. A lease of 15 s; times are made up."""

from __future__ import annotations

import pytest

from yadtq_core.worker.rules.keeper import Keeper


@pytest.fixture
def keeper() -> Keeper:
    """A keeper that began at 100 s and whose sweeps come every second exactly."""
    return Keeper(15.0, 100.0, draw=lambda: 0.5)


def beat(keeper: Keeper, now: float) -> bool:
    """The heartbeat that is due now goes out and is answered at once."""
    assert keeper.due(now).beat
    return keeper.beat_answered(now, now)


def test_a_heartbeat_comes_first_and_nothing_is_claimed_or_swept_before_it(keeper: Keeper) -> None:
    assert not keeper.may_claim(100.0)
    due = keeper.due(102.0)
    assert (due.beat, due.extend) == (True, False)
    assert not keeper.sweep_due(102.0)
    keeper.beat_answered(102.0, 102.1)
    assert keeper.may_claim(102.1)


def test_beats_and_extensions_come_every_third_of_the_lease_and_sweeps_every_second(keeper: Keeper) -> None:
    beat(keeper, 100.0)
    assert keeper.sweep_wait(100.0) == pytest.approx(1.0)
    assert keeper.sweep_due(101.0)
    assert not keeper.sweep_due(101.5)
    assert not keeper.due(104.9).beat
    due = keeper.due(105.0)
    assert (due.beat, due.extend) == (True, True)
    assert not keeper.due(105.1).beat


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 0.8), (1.0, 1.2)])
def test_sweeps_are_spread_by_a_fifth(draw: float, seconds: float) -> None:
    keeper = Keeper(15.0, 0.0, draw=lambda: draw)
    beat(keeper, 0.0)
    assert keeper.sweep_wait(0.0) == pytest.approx(seconds)


def test_half_a_lease_of_silence_ends_claiming_and_a_whole_one_the_membership(keeper: Keeper) -> None:
    beat(keeper, 100.0)
    assert keeper.may_claim(107.4)
    assert not keeper.may_claim(107.5)
    assert not keeper.must_leave(114.9)
    assert keeper.must_leave(115.0)


def test_silence_counts_from_the_sending_of_the_last_answered_beat(keeper: Keeper) -> None:
    assert keeper.due(100.0).beat
    keeper.beat_answered(100.0, 107.0)
    assert not keeper.may_claim(107.5)
    assert keeper.must_leave(115.0)


def test_a_backend_that_never_answered_makes_it_leave_too(keeper: Keeper) -> None:
    assert keeper.must_leave(115.0)


def test_a_beat_without_answer_is_tried_again_within_a_second(keeper: Keeper) -> None:
    beat(keeper, 100.0)
    assert keeper.due(105.0).beat
    keeper.beat_failed(107.0)
    assert not keeper.due(107.9).beat
    assert keeper.due(108.0).beat


def test_after_a_long_silence_leases_are_extended_first_and_nothing_is_swept_for_a_lease(keeper: Keeper) -> None:
    beat(keeper, 100.0)
    assert not beat(keeper, 110.0)  # late, but within two heartbeats
    assert beat(keeper, 121.0)
    assert not keeper.sweep_due(125.9)


def test_the_quiet_after_a_silence_ends(keeper: Keeper) -> None:
    beat(keeper, 100.0)
    assert beat(keeper, 121.0)
    for now in (126.0, 131.0):
        assert not beat(keeper, now)
        assert not keeper.sweep_due(now)
    assert not beat(keeper, 136.0)
    assert keeper.sweep_due(137.5)


def test_the_first_call_after_a_silence_is_a_heartbeat_and_never_a_sweep(keeper: Keeper) -> None:
    """A sweep that reached the backend before the extensions would reclaim healthy runs of all workers."""
    beat(keeper, 100.0)
    for now in range(105, 116):
        if keeper.due(float(now)).beat:
            keeper.beat_failed(float(now))
    assert not keeper.sweep_due(116.5)


def test_neither_a_start_nor_a_reconnect_is_a_silence(keeper: Keeper) -> None:
    assert not beat(keeper, 114.0)
    assert not beat(keeper, 123.9)
    assert keeper.sweep_due(125.5)


def test_a_sweep_can_be_asked_for_but_not_in_the_quiet_after_a_silence(keeper: Keeper) -> None:
    beat(keeper, 100.0)
    assert keeper.sweep_due(101.0)
    keeper.sweep_soon(101.2)
    assert keeper.sweep_wait(101.2) == 0.0
    assert keeper.sweep_due(101.2)
    assert beat(keeper, 120.0)
    keeper.sweep_soon(121.0)
    assert not keeper.sweep_due(121.0)


def test_nothing_is_offered_in_a_silence_nor_in_the_quiet_after_it(keeper: Keeper) -> None:
    """Found by a critic: offers took healthy runs for lost ones while claims and sweeps held back."""
    beat(keeper, 100.0)
    assert keeper.may_offer(107.4)
    assert not keeper.may_offer(107.5)
    assert beat(keeper, 120.0)
    for now in (125.0, 130.0):
        beat(keeper, now)
        assert not keeper.may_offer(now)
    assert not keeper.may_offer(134.9)
    assert keeper.may_offer(135.0)

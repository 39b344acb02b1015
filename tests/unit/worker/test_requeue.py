"""Requeued leases: their messages wait to be claimed again, so that their offsets are settled one day."""

from __future__ import annotations

import pytest

from tests.unit.worker.office import P0, RUN, Office, message
from yadtq_core.model import Answer, Release, ReleaseReason, Verdict

REASONS = [ReleaseReason.CHILD_DIED, ReleaseReason.UNSTARTED, ReleaseReason.HANDED_BACK]


@pytest.fixture
def office() -> Office:
    return Office()


def test_the_message_of_an_unknown_task_is_kept_until_the_backend_has_confirmed_its_release(office: Office) -> None:
    """Found by the simulation: after a release without an answer only the lease kept the task."""
    unknown = [delivery for delivery in office.intake.next_batch(9, 1e9, {}) if delivery.message.task == "strange"]
    (lease,) = office.intake.claimed(unknown, [RUN], 0.0)
    office.store.away = True
    office.requeue.release([lease], ReleaseReason.UNKNOWN_TASK)
    office.intake.done(P0, 0)
    office.intake.done(P0, 1)
    assert office.low == 2
    assert office.intake.next_batch(9, 1e9, {}) == unknown


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("reason", REASONS)
def test_a_requeued_delivery_is_claimed_again_so_that_it_does_not_block_its_partition(
    office: Office, reason: ReleaseReason, away: bool
) -> None:
    office.claim(1)
    (lease,) = office.children.given
    office.store.away = away
    office.requeue.release([lease], reason, note="why", lost=True)
    if not away:
        assert office.store.released == [Release("id0", "default", 7, reason, 0.0, True, "why")]
    assert not office.intake.runs("id0")
    assert office.low == 0
    batch = office.intake.next_batch(1, 1e9, {})
    assert [delivery.offset for delivery in batch] == [0]
    office.intake.claimed(batch, [Answer(Verdict.DONE)], 0.0)
    assert office.low == 1


def test_a_requeued_delivery_from_a_sweep_is_left_to_the_next_sweep(office: Office) -> None:
    office.claimer.claim([message(9, partition=None)])
    office.requeue.release(office.children.given, ReleaseReason.CHILD_DIED)
    assert office.intake.waiting == 3


@pytest.mark.parametrize("reason", REASONS)
def test_a_requeued_delivery_is_left_to_the_sweeps_if_its_message_was_settled_at_the_claim(
    reason: ReleaseReason,
) -> None:
    office = Office(replayable=False)
    office.claim()
    assert office.intake.spent() == [(P0, 0), (P0, 1), (P0, 2)]
    office.requeue.release(office.children.given, reason, note="why", lost=True)
    assert office.intake.waiting == 0
    assert not any(office.intake.runs(lease.id) for lease in office.children.given)

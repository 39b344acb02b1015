"""A task that the workers lack: its back-off and its TTL count from its first release for this reason."""

from __future__ import annotations

import pytest

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import Delivery, ReleaseReason, Status
from yadtq_core.testing.contracts.backend_bed import given_back, outcome

DAY_MS = 86_400_000
MINUTE_MS = 60_000
OTHERS = [reason for reason in ReleaseReason if reason is not ReleaseReason.UNKNOWN_TASK]


def release(bed: Bed, one: Delivery, reason: ReleaseReason = ReleaseReason.UNKNOWN_TASK, delay: float = 5.0) -> None:
    back = given_back(one.message.id, bed.run(one), reason, delay=delay)
    assert bed.backend.release([back], bed.worker) == ["ok"]


def unknown_for(bed: Bed, one: Delivery, age_ms: int) -> None:
    """Let the task have been unknown for this time, and be due."""
    bed.store.run("HSET", bed.key("task", one), "un", bed.backend.time_ms() - age_ms, "dl", 1)


@pytest.mark.parametrize(
    ("age_ms", "waits"), [(0, 5.0), (19_000, 5.0), (4 * MINUTE_MS, 60.0), (20 * MINUTE_MS, 300.0), (DAY_MS // 2, 300.0)]
)
def test_it_waits_a_quarter_of_the_time_for_which_it_was_unknown(bed: Bed, age_ms: int, waits: float) -> None:
    one = bed.submit()[0]
    release(bed, one)
    unknown_for(bed, one, age_ms)
    release(bed, one)
    due_at = bed.record(one).due_at
    assert due_at is not None
    assert waits - 0.5 < due_at - bed.backend.time_ms() / 1000 <= waits + 1.0
    assert bed.indexes(one) == {"scheduled": round(due_at * 1000)}


def test_a_task_delayed_by_days_is_not_failed_by_the_first_worker_that_lacks_it(bed: Bed) -> None:
    """Found by a critic: the TTL counted from the submit."""
    one = bed.submit(delay=60)[0]
    bed.store.run("HSET", bed.key("task", one), "dl", 1, "sa", bed.backend.time_ms() - 10 * DAY_MS)
    release(bed, one)
    assert bed.record(one).status is Status.SCHEDULED
    unknown_for(bed, one, DAY_MS)
    release(bed, one)
    assert bed.record(one).status is Status.FAILED
    assert "un" not in bed.fields(one)


@pytest.mark.parametrize("reason", OTHERS)
def test_a_release_for_another_reason_shows_that_the_task_is_known(bed: Bed, reason: ReleaseReason) -> None:
    one = bed.submit()[0]
    release(bed, one)
    unknown_for(bed, one, DAY_MS)
    release(bed, one, reason, delay=0.0)
    assert "un" not in bed.fields(one)
    release(bed, one)
    assert bed.record(one).status is Status.SCHEDULED


def test_a_release_because_a_peer_has_loaded_the_task_never_fails_it(bed: Bed) -> None:
    one = bed.submit()[0]
    release(bed, one)
    unknown_for(bed, one, DAY_MS)
    release(bed, one, delay=0.0)
    assert list(bed.indexes(one)) == ["ready:default"]
    assert "un" not in bed.fields(one)


def test_a_retry_shows_that_the_task_is_known(bed: Bed) -> None:
    one = bed.submit()[0]
    release(bed, one)
    unknown_for(bed, one, DAY_MS)
    bed.finish(outcome(one.message.id, bed.run(one), Status.SCHEDULED))
    assert "un" not in bed.fields(one)

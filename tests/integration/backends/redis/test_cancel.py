"""Cancel: a task that has not started ends; a running task hears of it."""

from __future__ import annotations

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import Status, Verdict


def test_a_cancelled_task_that_has_not_started_never_runs(bed: Bed) -> None:
    queued, delayed = bed.submit()[0], bed.submit(delay=60)[0]
    ids = [queued.message.id, delayed.message.id]
    assert bed.backend.cancel(ids, "enough") == ["cancelled", "cancelled"]
    for one in (queued, delayed):
        record = bed.record(one)
        assert (record.status, record.note, record.fence) == (Status.CANCELLED, "enough", 1)
        assert record.finished_at is not None
        assert bed.indexes(one) == {}
        assert bed.claim([one])[0].verdict is Verdict.DONE
        assert int(bed.store.run("PTTL", bed.key("task", one))) > 86_000_000
    assert bed.backend.messages(ids) == [None, None]
    assert bed.backend.counts().ended == {"cancelled": 2}
    assert bed.backend.counts().queues == {}


def test_a_failure_that_waits_for_its_burial_has_ended(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.fail(one)
    assert bed.backend.cancel([one.message.id], "late") == ["ended"]
    assert bed.score(one) is not None


def test_a_damaged_record_counts_as_ended_and_others_are_cancelled(bed: Bed) -> None:
    damaged, fine = bed.submit(2)
    bed.store.run("SET", bed.key("task", damaged), "x")
    assert bed.backend.cancel([damaged.message.id, fine.message.id], "enough") == ["ended", "cancelled"]

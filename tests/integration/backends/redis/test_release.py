"""Release: a record requeued without an outcome."""

from __future__ import annotations

import pytest

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import ReleaseReason, Status, Verdict
from yadtq_core.testing.contracts.backend_bed import given_back


def test_the_release_of_a_damaged_record_is_an_error_and_others_are_released(bed: Bed) -> None:
    damaged, fine = bed.submit(2)
    answers = bed.claim([damaged, fine])
    bed.store.run("SET", bed.key("task", damaged), "x")
    releases = [given_back(one.message.id, answer) for one, answer in zip((damaged, fine), answers, strict=True)]
    assert bed.backend.release(releases, bed.worker) == ["error", "ok"]
    assert bed.record(fine).status is Status.QUEUED


@pytest.mark.parametrize("delay", [0.0, 60.0])
def test_a_task_that_a_worker_cannot_bind_waits_and_never_fails_and_counts_no_attempt(bed: Bed, delay: float) -> None:
    (one,) = bed.submit()
    for _ in range(5):
        note = "left to other workers: no key"
        answer = bed.run(one)
        back = given_back(one.message.id, answer, ReleaseReason.BINDING_FAILED, delay=delay, note=note)
        assert answer.attempt == 1
        assert bed.open(unknown_task_ttl=0.001).release([back], bed.worker) == ["ok"]
        record = bed.record(one)
        assert record.status is (Status.SCHEDULED if delay else Status.QUEUED)
        assert (record.note, record.lost, record.worker_id) == (note, 0, None)
        if delay:
            assert bed.claim([one])[0].verdict is Verdict.LATER
            break

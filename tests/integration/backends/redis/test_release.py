"""Release: a record requeued without an outcome."""

from __future__ import annotations

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import Status
from yadtq_core.testing.contracts.backend_bed import given_back


def test_the_release_of_a_damaged_record_is_an_error_and_others_are_released(bed: Bed) -> None:
    damaged, fine = bed.submit(2)
    answers = bed.claim([damaged, fine])
    bed.store.run("SET", bed.key("task", damaged), "x")
    releases = [given_back(one.message.id, answer) for one, answer in zip((damaged, fine), answers, strict=True)]
    assert bed.backend.release(releases, bed.worker) == ["error", "ok"]
    assert bed.record(fine).status is Status.QUEUED

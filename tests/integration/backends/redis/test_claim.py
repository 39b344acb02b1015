"""Claim: the one way to run anything, each time under a larger fence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.integration.backends.redis.bed import Bed
from yadtq_core.backends.redis import claims
from yadtq_core.model import Status, Verdict
from yadtq_core.testing.contracts.backend_bed import STATS, delivery, given_back, outcome, submission

DAY_MS = 86_400_000


def test_a_queued_record_runs_under_a_fence_of_now(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)

    now_ms = bed.backend.time_ms()
    assert 0 <= now_ms - answer.started_at_ms < 30_000
    assert answer.fence // 1000 == answer.started_at_ms
    assert (answer.attempt, answer.lost) == (1, 0)
    record = bed.record(one)
    assert (record.status, record.worker_id, record.attempt, record.fence) == (Status.PROCESSING, "w", 1, answer.fence)
    assert record.started_at == answer.started_at_ms / 1000
    assert bed.score(one) == answer.started_at_ms + 15_000
    assert bed.backend.held(bed.worker) == [bed.hold(one, answer)]


def test_fences_grow_even_after_everything_was_lost(bed: Bed) -> None:
    one = bed.submit()[0]
    first = bed.run(one)
    bed.lose_everything()
    second = bed.run(one)

    assert second.fence > first.fence
    assert bed.finish(outcome(one.message.id, first)) == ["fenced"]
    assert bed.finish(outcome(one.message.id, second)) == ["ok"]


@pytest.mark.parametrize("ahead", [9_000_000_000_000_001, 0])
def test_a_fence_that_is_ahead_of_the_clock_grows_by_one(bed: Bed, ahead: int) -> None:
    one = bed.submit()[0]
    ahead = ahead or bed.backend.time_ms() * 1000 + 2_000_000
    bed.backend.release([given_back(one.message.id, bed.run(one))], bed.worker)
    bed.store.run("HSET", bed.key("task", one), "fe", ahead)
    answer = bed.run(one)

    assert answer.fence == ahead + 1
    assert bed.fields(one)["fe"] == str(ahead + 1)
    assert bed.finish(outcome(one.message.id, answer)) == ["ok"]


def test_a_message_without_a_record_is_too_old_once_the_result_ttl_has_passed(bed: Bed) -> None:
    bed.backend.heartbeat(bed.worker, STATS, ())
    bed.store.run("HSET", bed.shard_key("epoch"), "past", "")
    old = delivery(submission(), bed.backend.time_ms() - DAY_MS)
    young = delivery(submission(), bed.backend.time_ms() - DAY_MS + 60_000)

    assert [answer.verdict for answer in bed.claim([old, young])] == [Verdict.TOO_OLD, Verdict.RUN]
    assert bed.backend.get([old.message.id]) == [None]
    assert bed.score(old) is None


def test_the_window_of_a_lost_epoch_bounds_the_old_messages_that_run(bed: Bed) -> None:
    bed.backend.heartbeat(bed.worker, STATS, ())
    now_ms = bed.backend.time_ms()
    lost = f"a:0:{now_ms - 3 * DAY_MS}:{now_ms - 2 * DAY_MS};b:5:0:7;"
    bed.store.run("HSET", bed.shard_key("epoch"), "past", lost)
    inside = delivery(submission(), now_ms - 2 * DAY_MS)
    outside = delivery(submission(), now_ms - 2 * DAY_MS + 1)

    assert [answer.verdict for answer in bed.claim([inside, outside])] == [Verdict.RUN, Verdict.TOO_OLD]


def test_the_claim_of_a_damaged_record_is_an_error_and_others_are_claimed(bed: Bed) -> None:
    wrong_type, wrong_status, fine = bed.submit(3)
    bed.store.run("SET", bed.key("task", wrong_type), "x")
    bed.store.run("HSET", bed.key("task", wrong_status), "st", "sleeping")
    answers = bed.claim([wrong_type, wrong_status, fine])

    assert [answer.verdict for answer in answers] == [Verdict.ERROR, Verdict.ERROR, Verdict.RUN]
    assert "WRONGTYPE" in answers[0].error
    assert "sleeping" in answers[1].error
    assert bed.score(fine) is not None


def test_large_messages_of_lost_records_are_sent_in_several_calls(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of 200 large ones together would take a slow network longer than a call may, again and again."""
    monkeypatch.setattr(claims, "MAX_BYTES", 2_500)
    large = b'[["%b"],{}]' % (b"x" * 1_000)
    ones = [delivery(submission(arguments=large), bed.backend.time_ms(), offset=number) for number in range(5)]
    sizes: list[int] = []
    sent = bed.store.run_many

    def watched(commands: Sequence[Sequence[Any]]) -> list[Any]:
        sizes.append(sum(len(part) for command in commands for part in command if isinstance(part, bytes)))
        return sent(commands)

    monkeypatch.setattr(bed.store, "run_many", watched)
    answers = bed.claim(ones)
    assert [answer.verdict for answer in answers] == [Verdict.RUN] * 5
    assert len(sizes) == 4  # one without messages; then two, two and one
    assert max(sizes) < 2_700
    assert bed.finish(*(outcome(one.message.id, a) for one, a in zip(ones, answers, strict=True))) == ["ok"] * 5


def test_a_damaged_record_has_not_ended(bed: Bed) -> None:
    damaged, ended = bed.submit(2)
    bed.finish(outcome(ended.message.id, bed.run(ended)))
    bed.store.run("DEL", bed.key("task", damaged))
    bed.store.run("SET", bed.key("task", damaged), "x")
    assert bed.backend.ended([damaged.message.id, ended.message.id]) == [False, True]

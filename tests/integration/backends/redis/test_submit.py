"""Create and confirm: a record is written before its message, and the message's position follows."""

from __future__ import annotations

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import CreateCode, Status
from yadtq_core.testing.contracts.backend_bed import given_back, outcome, submission


def test_a_new_record_is_queued_and_checked_after_the_publish_grace(bed: Bed) -> None:
    given = submission("add", queue="fast")
    made = bed.backend.create([given])[0]

    assert (made.code, made.status, made.published) == (CreateCode.NEW, Status.QUEUED, False)
    assert abs(made.submitted_at_ms - bed.backend.time_ms()) < 30_000
    record = bed.record(given.message.id)
    assert (record.task, record.queue, record.status, record.attempt) == ("add", "fast", Status.QUEUED, 0)
    assert record.submitted_at == made.submitted_at_ms / 1000
    assert bed.score(given.message.id) == made.submitted_at_ms + 10_000
    assert bed.backend.counts().queues == {"fast": {"queued": 1}}


def test_a_delayed_record_is_indexed_at_its_due_time(bed: Bed) -> None:
    given = submission(delay=90)
    made = bed.backend.create([given])[0]
    assert bed.score(given.message.id) == made.submitted_at_ms + 90_000


def test_a_damaged_record_refuses_its_own_submission_only(bed: Bed) -> None:
    damaged, new = submission(), submission()
    bed.store.run("SET", bed.key("task", damaged.message.id), "x")
    made = bed.backend.create([damaged, new])

    assert [one.code for one in made] == [CreateCode.CONFLICT, CreateCode.NEW]
    assert made[0].status is Status.FAILED


def test_confirm_stores_the_position_and_doubles_the_queue_check(bed: Bed) -> None:
    one = bed.submit()[0]
    task_id = one.message.id
    waits = []
    for _ in range(7):
        bed.backend.confirm([(task_id, "3:41")])
        waits.append(round(((bed.score(task_id) or 0) - bed.backend.time_ms()) / 60_000))
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert bed.record(task_id).position == "3:41"

    for minutes in (1, 2):
        bed.backend.confirm([(task_id, "3:99")])
        assert round(((bed.score(task_id) or 0) - bed.backend.time_ms()) / 60_000) == minutes


def test_a_late_confirm_moves_nothing_but_a_queued_record(bed: Bed) -> None:
    running, retried, ended = bed.submit(3)
    answers = bed.claim([running, retried, ended])
    bed.finish(outcome(retried.message.id, answers[1], Status.SCHEDULED), outcome(ended.message.id, answers[2]))
    before = [bed.score(one) for one in (running, retried, ended)]
    bed.backend.confirm([(one.message.id, "0:7") for one in (running, retried, ended)])

    assert [bed.score(one) for one in (running, retried, ended)] == before
    assert bed.record(running).position == "0:7"
    assert bed.record(retried).position is None
    assert "po" not in bed.fields(ended)
    assert before[2] is None


def test_a_released_record_is_checked_every_second(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.backend.confirm([(one.message.id, "0:7")])
    bed.backend.release([given_back(one.message.id, bed.run(one))], bed.worker)
    for _ in range(2):
        before_ms = bed.backend.time_ms()
        bed.backend.confirm([(one.message.id, "0:7")])
        assert before_ms <= (bed.score(one) or 0) - 1_000 <= bed.backend.time_ms()


def test_confirming_a_missing_record_creates_nothing(bed: Bed) -> None:
    bed.backend.confirm([(submission().message.id, "0:1")])
    assert bed.names() == []

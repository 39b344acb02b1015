"""The backend's contract: create, confirm, get and messages."""

from __future__ import annotations

from yadtq_core.model import CreateCode, Status
from yadtq_core.testing.contracts.backend_bed import SHORT, BackendBed, delivery, outcome, submission
from yadtq_core.wire import envelope


class SubmittingContract:
    """The record is written before its message is published; the message's position follows."""

    def test_a_new_record_is_queued(self, bed: BackendBed) -> None:
        given = submission("add", queue="fast")
        made = bed.backend.create([given])[0]
        assert (made.code, made.status, made.published) == (CreateCode.NEW, Status.QUEUED, False)
        assert abs(made.submitted_at_ms - bed.backend.time_ms()) < 30_000
        record = bed.record(given.message.id)
        assert (record.task, record.queue, record.status, record.attempt) == ("add", "fast", Status.QUEUED, 0)
        assert record.submitted_at == made.submitted_at_ms / 1000
        assert bed.backend.counts().queues == {"fast": {"queued": 1}}

    def test_a_delayed_record_is_scheduled_until_its_time(self, bed: BackendBed) -> None:
        given = submission(delay=90)
        made = bed.backend.create([given])[0]
        assert (made.code, made.status) == (CreateCode.NEW, Status.SCHEDULED)
        assert bed.record(given.message.id).due_at == (made.submitted_at_ms + 90_000) / 1000

    def test_a_late_confirm_stores_the_position_only_before_the_end(self, bed: BackendBed) -> None:
        running, retried, ended = bed.submit(3)
        answers = bed.claim([running, retried, ended])
        bed.finish(outcome(retried.message.id, answers[1], Status.SCHEDULED), outcome(ended.message.id, answers[2]))
        bed.backend.confirm([(one.message.id, "0:7") for one in (running, retried, ended)])
        assert bed.record(running).position == "0:7"
        assert [bed.record(one).position for one in (retried, ended)] == [None, None]

    def test_a_confirmed_record_is_due_after_the_queue_check(self, bed: BackendBed) -> None:
        bed.backend = bed.open(publish_grace=SHORT, queue_check=60.0)
        one = bed.submit()[0]
        bed.pass_time()
        assert bed.due() == [one.message.id]
        bed.backend.confirm([(one.message.id, "0:7")])
        bed.pass_time()
        assert bed.due() == []
        bed.backend.confirm([(submission().message.id, "0:7")])  # creates no record
        assert bed.backend.counts().total("queued") == 1

    def test_empty_batches_are_allowed(self, bed: BackendBed) -> None:
        backend = bed.backend
        assert list(backend.create([])) == []
        assert list(backend.claim([], bed.worker, "n")) == []
        assert list(backend.get([])) == []
        assert list(backend.messages([])) == []
        backend.confirm([])
        backend.buried([])
        assert backend.counts().queues == {}

    def test_a_repeated_create_finds_its_record(self, bed: BackendBed) -> None:
        given = submission()
        first, again = bed.backend.create([given])[0], bed.backend.create([given])[0]

        assert (again.code, again.status, again.published) == (CreateCode.EXISTS, Status.QUEUED, False)
        assert again.submitted_at_ms == first.submitted_at_ms
        bed.backend.confirm([(given.message.id, "0:1")])
        assert bed.backend.create([given])[0].published
        assert bed.backend.counts().total("queued") == 1

    def test_the_same_id_with_other_arguments_is_a_conflict_and_changes_nothing(self, bed: BackendBed) -> None:
        given = submission(arguments=b"[[1],{}]")
        other = submission(arguments=b"[[2],{}]", id=given.message.id)
        new = submission()
        first, conflict, third = bed.backend.create([given, other, new])

        assert [first.code, conflict.code, third.code] == [CreateCode.NEW, CreateCode.CONFLICT, CreateCode.NEW]
        kept = bed.backend.messages([given.message.id])[0]
        assert kept is not None
        assert bytes(envelope.decode(kept).arguments) == b"[[1],{}]"

    def test_a_kept_message_has_the_submit_time_of_its_record(self, bed: BackendBed) -> None:
        given = submission(headers={"trace": "é"})
        made = bed.backend.create([given])[0]
        kept, none = bed.backend.messages([given.message.id, submission().message.id])

        assert none is None
        assert kept is not None
        message = envelope.decode(kept)
        assert message.submitted_at_ms == made.submitted_at_ms
        assert message.headers == {"trace": "é"}
        assert kept == delivery(given, made.submitted_at_ms).body

    def test_get_keeps_the_order_and_answers_none_for_a_missing_record(self, bed: BackendBed) -> None:
        first, second = bed.submit(2)
        never = submission().message.id
        found = bed.backend.get([second.message.id, never, first.message.id])
        assert [record and record.id for record in found] == [second.message.id, None, first.message.id]

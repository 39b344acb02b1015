"""The backend's contract: create, confirm, get and messages."""

from __future__ import annotations

import pytest

from yadtq_core.model import CreateCode, Placed, Status, new_id
from yadtq_core.testing.contracts.backend_bed import (
    SHORT,
    BackendBed,
    delivery,
    outcome,
    partition_of,
    position_of,
    submission,
)
from yadtq_core.wire import envelope

ALL_PARTITIONS = range(256)


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
        bed.confirm(running, retried, ended)
        assert bed.record(running).position == position_of(running.message.id, 7)
        assert [bed.record(one).position for one in (retried, ended)] == [None, None]
        assert bed.backend.highest("default", ALL_PARTITIONS) == {}

    def test_a_running_record_keeps_its_first_position(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.confirm(one, offset=7)
        bed.run(one)
        bed.confirm(one, offset=9)
        assert bed.record(one).position == position_of(one.message.id, 7)

    def test_an_unconfirmed_record_is_ready_after_the_publish_grace(self, bed: BackendBed) -> None:
        bed.backend = bed.open(publish_grace=SHORT)
        one = bed.submit(task="mul", queue="fast")[0]
        bed.pass_time()
        found = bed.sweep("fast", "other")
        assert (found.reclaimed, found.failed, found.ready) == ([], [], {"fast": 1, "other": 0})
        taken = bed.backend.take({"fast": 5}, ()).deliveries
        assert [(each.message.task, each.body, each.partition) for each in taken] == [("mul", one.body, None)]

    def test_a_confirmed_record_is_never_due(self, bed: BackendBed) -> None:
        bed.backend = bed.open(publish_grace=SHORT)
        one = bed.submit()[0]
        bed.confirm(one)
        bed.pass_time()
        assert bed.sweep().ready == {"default": 0}
        assert bed.record(one).position == position_of(one.message.id, 7)
        assert bed.backend.highest("default", ALL_PARTITIONS) == {partition_of(one.message.id): 7}

    def test_a_confirmation_after_the_publish_grace_changes_nothing(self, bed: BackendBed) -> None:
        bed.backend = bed.open(publish_grace=SHORT)
        one = bed.submit()[0]
        bed.pass_time()
        assert bed.ready() == 1
        bed.confirm(one)
        assert bed.record(one).position is None
        assert bed.take() == [one.message.id]

    @pytest.mark.parametrize("offset", ["1-0", "", str(2**38), "-1", "7:1"])
    def test_a_position_that_is_none_of_the_log_leaves_its_record_unconfirmed(
        self, bed: BackendBed, offset: str
    ) -> None:
        bed.backend = bed.open(publish_grace=SHORT)
        one = bed.submit()[0]
        bed.backend.confirm([Placed(one.message.id, "default", f"{partition_of(one.message.id)}:{offset}")])
        bed.pass_time()
        assert bed.ready() == 1

    def test_a_position_in_a_partition_beyond_the_greatest_leaves_its_record_unconfirmed(self, bed: BackendBed) -> None:
        bed.backend = bed.open(publish_grace=SHORT)
        one = bed.submit(id=new_id()[:-2] + "00")[0]
        bed.backend.confirm([Placed(one.message.id, "default", f"{3 * 2**15}:1")])
        bed.pass_time()
        assert bed.ready() == 1

    def test_a_confirmation_for_another_queue_changes_nothing(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.backend.confirm([Placed(one.message.id, "fast", position_of(one.message.id, 7))])
        assert bed.record(one).position is None
        assert bed.backend.highest("fast", ALL_PARTITIONS) == {}

    def test_confirming_a_missing_record_creates_none(self, bed: BackendBed) -> None:
        never = delivery(submission(), 1)
        bed.confirm(never)
        assert bed.backend.get([never.message.id]) == [None]
        assert bed.backend.highest("default", ALL_PARTITIONS) == {}

    def test_empty_batches_are_allowed(self, bed: BackendBed) -> None:
        backend = bed.backend
        assert list(backend.create([])) == []
        assert list(backend.claim([], bed.worker, "n")) == []
        assert list(backend.get([])) == []
        assert list(backend.ended([])) == []
        assert list(backend.messages([])) == []
        assert list(backend.take({}, ()).deliveries) == []
        assert backend.recover("default", [], []) == 0
        assert backend.highest("default", []) == {}
        assert (backend.sweep(10, ()).ready, backend.sweep(10, ()).more) == ({}, False)
        backend.confirm([])
        backend.buried([])
        assert backend.counts().queues == {}

    def test_a_repeated_create_finds_its_record(self, bed: BackendBed) -> None:
        given = submission()
        first, again = bed.backend.create([given])[0], bed.backend.create([given])[0]

        assert (again.code, again.status, again.published) == (CreateCode.EXISTS, Status.QUEUED, False)
        assert again.submitted_at_ms == first.submitted_at_ms
        bed.backend.confirm([Placed(given.message.id, "default", position_of(given.message.id, 1))])
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

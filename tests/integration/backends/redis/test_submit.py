"""Create and confirm: a record is written before its message, and the message's position follows."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import CreateCode, Placed, Status, new_id
from yadtq_core.testing.contracts.backend_bed import given_back, outcome, position_of, submission
from yadtq_core.wire import envelope


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
    assert bed.indexes(given.message.id) == {"scheduled": made.submitted_at_ms + 90_000}


def test_a_damaged_record_refuses_its_own_submission_only(bed: Bed) -> None:
    damaged, new = submission(), submission()
    bed.store.run("SET", bed.key("task", damaged.message.id), "x")
    made = bed.backend.create([damaged, new])

    assert [one.code for one in made] == [CreateCode.CONFLICT, CreateCode.NEW]
    assert made[0].status is Status.FAILED


def test_a_confirmed_record_moves_to_the_log_at_its_position(bed: Bed) -> None:
    one = bed.submit(queue="fast")[0]
    for offset in (41, 41, 99):  # the position of the message that was acknowledged last
        bed.backend.confirm([Placed(one.message.id, "fast", f"3:{offset}")])
        assert bed.indexes(one) == {"waiting:fast": 3 * 2**38 + offset}
        assert bed.record(one).position == f"3:{offset}"
    bed.backend.confirm([Placed(one.message.id, "fast", f"{2**15 - 1}:{2**38 - 1}")])
    assert bed.indexes(one) == {"waiting:fast": 2**53 - 1}
    assert bed.backend.highest("fast", [2**15 - 1, 2**15, -1]) == {2**15 - 1: 2**38 - 1}


def test_a_position_in_a_partition_of_another_shard_leaves_the_record_in_open(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(shards=2)
    one = bed.submit(id=new_id()[:-2] + "00")[0]
    bed.backend.confirm([Placed(one.message.id, "default", "1:7")])
    assert list(bed.indexes(one)) == ["open"]
    assert bed.record(one).position == "1:7"


def stream(bed: Bed) -> Callable[[str, int], str | None]:
    """Return what `Broker.stream` of a broker on the same store returns, for the queue `fast` alone."""
    return lambda queue, shard: bed.shard_key(f"stream:{queue}", shard) if queue == "fast" else None


def test_with_a_stream_the_record_and_its_message_are_one_step(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(shards=2)
    given = [submission(queue="fast") for _ in range(20)]
    made = bed.backend.create(given, stream=stream(bed))
    assert all(one.published for one in made)
    entries = [
        fields
        for shard in (0, 1)
        for _, fields in bed.store.run("XRANGE", bed.shard_key("stream:fast", shard), "-", "+")
    ]
    bodies = {envelope.decode(fields[b"m"]).id: fields[b"m"] for fields in entries}
    assert bodies == {
        one.message.id: envelope.stamp(one.body, what.submitted_at_ms) for one, what in zip(given, made, strict=True)
    }
    ids = [one.message.id for one in given]
    assert [bed.indexes(one) for one in ids] == [{}] * 20
    assert [bool(body) for body in bed.backend.messages(ids)] == [True] * 20
    again = bed.backend.create(given, stream=stream(bed))
    assert [(one.code, one.published) for one in again] == [(CreateCode.EXISTS, True)] * 20
    assert len(entries) == sum(bed.store.run("XLEN", bed.shard_key("stream:fast", shard)) for shard in (0, 1))


def test_only_what_may_run_now_is_put_into_a_stream(bed: Bed) -> None:
    delayed, elsewhere = submission(queue="fast", delay=60), submission()
    made = bed.backend.create([delayed, elsewhere], stream=stream(bed))
    assert [one.published for one in made] == [False, False]
    assert [list(bed.indexes(one.message.id)) for one in (delayed, elsewhere)] == [["scheduled"], ["open"]]
    assert not bed.store.run("EXISTS", bed.shard_key("stream:fast"))
    assert bed.backend.create([delayed], stream=stream(bed))[0].published


def test_a_late_confirm_moves_nothing_but_a_queued_record(bed: Bed) -> None:
    running, retried, ended = bed.submit(3)
    answers = bed.claim([running, retried, ended])
    bed.finish(outcome(retried.message.id, answers[1], Status.SCHEDULED), outcome(ended.message.id, answers[2]))
    before = [bed.indexes(one) for one in (running, retried, ended)]
    bed.confirm(running, retried, ended)

    assert [bed.indexes(one) for one in (running, retried, ended)] == before
    assert bed.record(running).position == position_of(running.message.id, 7)
    assert bed.record(retried).position is None
    assert "po" not in bed.fields(ended)
    assert before[2] == {}


def test_a_late_confirm_does_not_take_a_ready_record_away(bed: Bed) -> None:
    released, offered = ones = bed.submit(2)
    bed.backend.release([given_back(released.message.id, bed.run(released))], bed.worker)
    bed.backend.offer([offered])
    bed.confirm(*ones)
    assert [list(bed.indexes(one)) for one in ones] == [["ready:default"]] * 2
    assert [bed.record(one).position for one in ones] == [None, None]


def test_confirming_a_missing_record_creates_nothing(bed: Bed) -> None:
    bed.backend.confirm([Placed(submission().message.id, "default", "0:1")])
    assert bed.names() == []

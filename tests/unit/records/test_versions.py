"""Versions of task records: stored ones are read for ever, unknown fields are kept, missing ones have their default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from yadtq_core.backends.memory import MemoryStore
from yadtq_core.model import Attempt, Error, Placed, Record, Status, Verdict
from yadtq_core.records import OPEN, SCHEDULED, DamagedRecord, Entry, StoreBackend, StoredRecord, decode, encode
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import STATS, BackendBed, delivery, outcome, submission

FORMATS = Path(__file__).parents[2] / "formats"
ID = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a{}"
ERROR = Error("ZeroDivisionError", "division by zero", "Traceback …")


def past_run(
    attempt: int, ended_at: float, worker: str = "w", reason: str = f"{ERROR.type}: {ERROR.message}"
) -> Attempt:
    return Attempt(attempt, worker, ended_at, reason)


STORED = {
    "v1-queued": Record(ID.format(11), "add", Status.QUEUED, "fast", 1764000000.123, position="0:7"),
    "v1-scheduled": Record(
        ID.format(12), "shop.mail", Status.SCHEDULED, "default", 1764000000.123, due_at=1764000060.123
    ),
    "v1-processing": Record(
        ID.format(13),
        "shop.mail",
        Status.PROCESSING,
        "default",
        1764000000.123,
        attempt=1,
        fence=1764000001123456,
        worker_id="worker-1",
        started_at=1764000001.123,
        progress="0.5 half",
        cancel_requested=True,
    ),
    "v1-success": Record(
        ID.format(14),
        "add",
        Status.SUCCESS,
        "default",
        1764000001.123,
        attempt=1,
        fence=1764000002123456,
        worker_id="worker-1",
        started_at=1764000002.123,
        finished_at=1764000002.123,
        result=b"3",
        content_type="application/json",
    ),
    "v1-failed": Record(
        ID.format(15),
        "div",
        Status.FAILED,
        "default",
        1764000002.123,
        attempt=2,
        fence=1764000122123456,
        worker_id="worker-1",
        started_at=1764000122.123,
        finished_at=1764000122.123,
        error=ERROR,
        history=(past_run(1, 1764000062.123), past_run(2, 1764000122.123)),
    ),
    "v1-requeued": Record(
        ID.format(16),
        "shop.mail",
        Status.QUEUED,
        "default",
        1764000122.123,
        attempt=1,
        lost=1,
        fence=1764000122123457,
        worker_id="worker-1",
        started_at=1764000122.123,
        note="child killed by signal 9",
        history=(past_run(1, 1764000122.123, "worker-1", "child killed by signal 9"),),
    ),
    "v1-taken": Record(
        ID.format(17),
        "shop.mail",
        Status.QUEUED,
        "default",
        1764000000.123,
        attempt=1,
        lost=1,
        fence=1764000122123456,
        worker_id="worker-1",
        started_at=1764000122.123,
        history=(past_run(1, 1764000137.123, "worker-1", "worker lost"),),
    ),
}


class NextRecord(StoredRecord):
    """A field that a later yadtq may add."""

    priority: int = 0


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def bed(store: MemoryStore) -> BackendBed:
    return BackendBed(lambda **given: StoreBackend(store, Settings(**given)))


def replace(store: MemoryStore, task_id: str, **fields: Any) -> None:
    """Let another version write some fields of a record."""
    data = msgspec.json.encode(json.loads(store.read([task_id])[task_id]) | fields)
    store.write([Entry(task_id, data, (OPEN, 1), None, None, ended=False)])


def stored(store: MemoryStore, task_id: str) -> Any:
    return json.loads(store.read([task_id])[task_id])


def test_every_stored_record_has_its_expectation() -> None:
    assert {file.name for file in FORMATS.glob("record-v*")} == {f"record-{name}.json" for name in STORED}


@pytest.mark.parametrize("name", STORED)
def test_a_stored_record_is_read_and_written_as_it_was(name: str) -> None:
    data = (FORMATS / f"record-{name}.json").read_bytes()
    record = decode(data)
    assert record.shown() == STORED[name]
    assert json.loads(encode(record)) == json.loads(data)


def test_the_stored_records_have_every_field_between_them() -> None:
    fields: set[str] = set()
    for name in STORED:
        fields |= json.loads((FORMATS / f"record-{name}.json").read_bytes()).keys()
    assert set(StoredRecord.__struct_fields__) - fields == {"unknown"}, "add a record that has the new field"


def test_missing_fields_have_their_defaults() -> None:
    record = decode(b'{"id":"a","task":"add","submitted_at":5,"status":"queued"}')
    assert record == StoredRecord("a", "add", 5, Status.QUEUED)
    assert encode(record) == b'{"id":"a","task":"add","submitted_at":5,"status":"queued"}'


def test_a_field_of_a_newer_version_is_kept_through_a_whole_life(bed: BackendBed, store: MemoryStore) -> None:
    one = bed.submit()[0]
    newer = {"priority": 5, "labels": {"tenant": ["acme", None, 1.5]}}
    replace(store, one.message.id, **newer)
    answer = bed.run(one)
    bed.backend.extend([bed.hold(one, answer, "0.5")], bed.worker)
    bed.finish(outcome(one.message.id, answer))
    ended = stored(store, one.message.id)
    assert ended["status"] == "success"
    assert {name: ended[name] for name in newer} == newer
    assert "unknown" not in ended
    assert bed.record(one).status is Status.SUCCESS


def test_two_versions_read_and_write_one_record_in_turn() -> None:
    by_next = NextRecord("a", "add", 5, Status.QUEUED, priority=7)
    read_here = decode(msgspec.json.encode(by_next))
    read_here.status = Status.PROCESSING
    back = msgspec.json.decode(encode(read_here), type=NextRecord)
    assert (back.priority, back.status) == (7, Status.PROCESSING)
    by_this = msgspec.json.decode(encode(StoredRecord("b", "add", 5, Status.QUEUED)), type=NextRecord)
    assert by_this.priority == 0


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{}", b'{"id":1}', b"[" * 100_000])
def test_a_hash_that_is_no_record_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedRecord):
        decode(data)


def test_a_record_with_a_newer_status_is_left_as_it_is(bed: BackendBed, store: MemoryStore) -> None:
    newer, known = bed.submit(2)
    task_id = newer.message.id
    replace(store, task_id, status="paused")
    before = store.read([task_id])
    answers = bed.claim([newer, known])
    assert [answer.verdict for answer in answers] == [Verdict.ERROR, Verdict.RUN]
    assert "record is damaged: Invalid enum value 'paused'" in answers[0].error
    assert bed.backend.offer([newer])[0].verdict is Verdict.ERROR
    assert bed.backend.extend([bed.hold(newer, answers[1])], bed.worker) == ["lost"]
    assert bed.finish(outcome(task_id, answers[1])) == ["error"]
    assert bed.backend.cancel([task_id], "enough") == ["ended"]
    assert bed.backend.create([submission(id=task_id)])[0].code == "conflict"
    assert bed.backend.watch([task_id], "channel") == [True]
    bed.backend.confirm([Placed(task_id, "default", "0:1")])
    bed.backend.buried([task_id])
    shown = bed.record(newer)
    assert shown.status is Status.FAILED
    assert shown.error is not None
    assert "Invalid enum value 'paused'" in shown.error.message
    assert store.read([task_id]) == before


def test_a_damaged_record_is_postponed_and_hides_no_other(bed: BackendBed, store: MemoryStore) -> None:
    bad, good = bed.submit(2)
    before = store.read([bad.message.id])
    bed.lost(good)
    replace(store, bad.message.id, status="paused")  # the first in `open`
    assert bed.backend.sweep(1, []).reclaimed == []
    assert [due.id for due in bed.backend.sweep(1, []).reclaimed] == [good.message.id]
    assert (store.next_due() or 0) - bed.backend.time_ms() > 29 * 60_000
    replace(store, bad.message.id, status="queued")
    assert store.read([bad.message.id]) == before
    assert bed.run(delivery(submission(id=bad.message.id), 1)).attempt == 1


@pytest.mark.parametrize("name", ["ready:default", "waiting:default"])
def test_a_damaged_record_that_waits_is_left_to_a_sweep(bed: BackendBed, store: MemoryStore, name: str) -> None:
    epochs = bed.backend.heartbeat(bed.worker, STATS, ()).epochs
    bad, good = bed.submit(2)
    bed.backend.offer([good])
    replace(store, bad.message.id, status="paused")
    store.write([store.entries[bad.message.id]._replace(listed=(name, 1))])
    assert [one.message.id for one in bed.backend.take({"default": 1}, ()).deliveries] == [good.message.id]
    assert bed.backend.recover("default", [(0, 0, 10)], epochs) == 0
    assert (store.size("ready:default"), store.size("waiting:default")) == (0, 0)
    assert bad.message.id in store.first(OPEN, 0, bed.backend.time_ms() + 31 * 60_000, 10)


@pytest.mark.parametrize("status", ["processing", "scheduled"])
def test_a_record_is_not_ready_early_when_an_older_version_postponed_it(
    bed: BackendBed, store: MemoryStore, status: str
) -> None:
    one = bed.submit(delay=0.0 if status == "processing" else 60.0)[0]
    if status == "processing":
        bed.run(one)
    right = store.entries[one.message.id]
    store.write([right._replace(listed=(OPEN, 1))])  # what `postpone` leaves, half an hour later
    assert bed.backend.sweep(10, ["default"]).ready == {"default": 0}
    assert bed.record(one).status == status
    assert store.entries[one.message.id] == right  # or each sweep would find it again, and others would wait


def test_an_ended_record_in_the_wrong_index_is_dropped_from_it(bed: BackendBed, store: MemoryStore) -> None:
    one = bed.submit()[0]
    bed.finish(outcome(one.message.id, bed.run(one)))
    for name in (OPEN, SCHEDULED, "ready:default"):
        store.write([store.entries[one.message.id]._replace(listed=(name, 1))])
        bed.backend.sweep(10, [])
        bed.backend.take({"default": 10}, ())
        assert store.entries[one.message.id].listed is None

"""Versions of the record format: records of every version are read, and fields of a newer version are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.integration.backends.redis.bed import Bed
from yadtq_core.backends.redis.keys import Field
from yadtq_core.model import (
    ENDED,
    CreateCode,
    Delivery,
    Hold,
    Message,
    Placed,
    Record,
    ReleaseReason,
    Status,
    Submission,
    Verdict,
)
from yadtq_core.testing.contracts.backend_bed import given_back, outcome
from yadtq_core.wire import envelope

FORMATS = Path(__file__).parents[3] / "formats"
NAMES = sorted(file.name.removesuffix(".json") for file in FORMATS.glob("record-redis-v*.json"))
NEWER = {"zz": "a field of a newer version", "z": "", "longname": "\N{SNOWMAN}"}
NO_MORE = {"ck"}
"""Fields of earlier versions that no script writes or reads any more; a record may still have them."""
REQUIRED = {Field.STATUS, Field.TASK, Field.SUBMITTED_AT}

CLAIMS = {
    "record-redis-v1-queued": (Verdict.RUN, 1, 0),
    "record-redis-v1-confirmed": (Verdict.RUN, 1, 0),
    "record-redis-v1-delayed": (Verdict.RUN, 1, 0),
    "record-redis-v1-retry": (Verdict.RUN, 2, 0),
    "record-redis-v1-released": (Verdict.RUN, 1, 0),
    "record-redis-v1-reclaimed": (Verdict.RUN, 2, 1),
    "record-redis-v1-unknown": (Verdict.RUN, 1, 0),
    "record-redis-v1-waiting": (Verdict.RUN, 1, 0),
    "record-redis-v1-processing": (Verdict.RUN, 3, 2),
    "record-redis-v1-processing-to-cancel": (Verdict.DONE, 0, 0),
    "record-redis-v1-success": (Verdict.DONE, 0, 0),
    "record-redis-v1-failed": (Verdict.DONE, 0, 0),
    "record-redis-v1-cancelled": (Verdict.DONE, 0, 0),
}
"""The verdict, attempt and losses with which a claim answers each stored record."""


class Stored(msgspec.Struct):
    """One file: a record as a past version left it in Redis, and the values that it stands for.

    The earlier ones are all in `open`, which was the only index.
    """

    id: str
    open: int | None
    record: dict[str, str]
    message: str | None
    reads: dict[str, Any]
    scheduled: int | None = None
    ready: int | None = None
    waiting: int | None = None

    @property
    def queue(self) -> str:
        """The queue of the record."""
        return self.record.get("qu", "default")

    @property
    def indexes(self) -> dict[str, int]:
        """The indexes in which it is, and its scores there."""
        queue = self.queue
        scores = {"open": self.open, "scheduled": self.scheduled}
        scores |= {f"ready:{queue}": self.ready, f"waiting:{queue}": self.waiting}
        return {name: score for name, score in scores.items() if score is not None}

    @property
    def message_body(self) -> bytes:
        """The kept message, or one for a record that has ended."""
        if self.message is not None:
            return self.message.encode()
        ended = Message(v=1, id=self.id, task=self.record["tk"], digest=self.record["ha"])
        return envelope.encode(ended)

    @property
    def delivery(self) -> Delivery:
        """The message as a sweep gives it."""
        return Delivery(envelope.decode(self.message_body), self.message_body)


def stored(name: str) -> Stored:
    return msgspec.json.decode((FORMATS / f"{name}.json").read_bytes(), type=Stored)


def load(bed: Bed, name: str, newer: dict[str, str] | None = None) -> Stored:
    """Put a stored record into Redis."""
    found = stored(name)
    fields = found.record | (newer or {})
    bed.store.run("HSET", bed.key("task", found.id), *(part for pair in fields.items() for part in pair))
    if found.message is not None:
        bed.store.run("SET", bed.key("message", found.id), found.message)
    for index, score in found.indexes.items():
        bed.store.run("ZADD", bed.shard_key(index), score, found.id)
    return found


def newer_fields(bed: Bed, found: Stored) -> dict[str, str]:
    return {name: value for name, value in bed.fields(found.id).items() if name in NEWER}


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_record_is_queried(bed: Bed, name: str) -> None:
    found = load(bed, name, NEWER)
    assert bed.record(found.id) == msgspec.convert({"id": found.id} | found.reads, Record)


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_record_is_claimed_and_finished(bed: Bed, name: str) -> None:
    found = load(bed, name)
    (answer,) = bed.claim([found.delivery])
    assert (answer.verdict, answer.attempt, answer.lost) == CLAIMS[name]
    if answer.verdict is Verdict.RUN:
        assert list(bed.indexes(found.id)) == ["open"]
        assert bed.finish(outcome(found.id, answer, queue=found.queue)) == ["ok"]
    assert bed.record(found.id).status in ENDED
    assert bed.indexes(found.id) == {} or name == "record-redis-v1-failed"


def taken_messages(bed: Bed, queue: str) -> list[Message]:
    return [one.message for one in bed.backend.take({queue: 9}, ()).deliveries]


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_record_is_swept(bed: Bed, name: str) -> None:
    found = load(bed, name)
    swept = bed.sweep(found.queue)
    status = found.record["st"]
    runs = status == "processing" and "ca" not in found.record
    assert [due.id for due in swept.reclaimed] == [found.id] * runs
    assert [due.id for due in swept.failed] == [found.id] * (status == "failed")
    ready = (status in ("queued", "scheduled") and found.waiting is None) or runs
    assert swept.ready == {found.queue: int(ready)}
    assert [one.id for one in taken_messages(bed, found.queue)] == [found.id] * ready


@pytest.mark.parametrize("name", NAMES)
def test_no_script_removes_a_field_of_a_newer_version(bed: Bed, name: str) -> None:
    found = load(bed, name, NEWER)
    backend, one = bed.backend, found.delivery
    backend.confirm([Placed(found.id, found.queue, "0:9")])
    backend.watch([found.id], "channel")
    backend.offer([one])
    backend.sweep(10, [found.queue])
    backend.take({found.queue: 9}, ())
    (answer,) = bed.claim([one])
    if answer.verdict is Verdict.RUN:
        queue = found.queue
        backend.extend([Hold(found.id, queue, answer.fence, "0.5")], bed.worker)
        backend.release([given_back(found.id, answer, ReleaseReason.CHILD_DIED, queue=queue, lost=True)], bed.worker)
        backend.finish([outcome(found.id, bed.run(one), Status.SCHEDULED, queue=queue, retry_in=0.001)], bed.worker)
        bed.pass_time()
        backend.finish([outcome(found.id, bed.run(one), Status.FAILED, queue=queue)], bed.worker)
    backend.cancel([found.id], "too late")
    backend.buried([found.id])
    assert newer_fields(bed, found) == NEWER


@pytest.mark.parametrize("name", NAMES)
def test_a_cancelled_record_keeps_the_fields_of_a_newer_version(bed: Bed, name: str) -> None:
    found = load(bed, name, NEWER)
    bed.backend.cancel([found.id], "not needed")
    assert newer_fields(bed, found) == NEWER


@pytest.mark.parametrize("name", NAMES)
def test_a_repeated_submit_changes_nothing(bed: Bed, name: str) -> None:
    found = load(bed, name, NEWER)
    before = bed.fields(found.id)
    message = found.delivery.message
    other = msgspec.structs.replace(message, digest="other")
    same, conflict = (
        bed.backend.create([Submission(each, envelope.encode(each))])[0].code for each in (message, other)
    )
    assert (same, conflict) == (CreateCode.EXISTS, CreateCode.CONFLICT)
    assert bed.fields(found.id) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_field_has_its_default(bed: Bed, name: str) -> None:
    """A record of the first version has no field that was added later; the same holds for every field left out here."""
    found = load(bed, name)
    for index in found.indexes:
        bed.store.run("ZREM", bed.shard_key(index), found.id)  # the queue is one of the fields left out
    optional = sorted(set(found.record) - REQUIRED)
    for field in optional:
        bed.store.run("HDEL", bed.key("task", found.id), field)
    record = bed.record(found.id)
    assert record == Record(
        id=found.id,
        task=found.record["tk"],
        status=Status(found.record["st"]),
        queue="default",
        submitted_at=int(found.record["sa"]) / 1000,
    )
    (answer,) = bed.claim([found.delivery])
    assert answer.verdict is (Verdict.DONE if record.status in ENDED else Verdict.RUN)


def test_every_status_is_stored() -> None:
    assert {stored(name).record["st"] for name in NAMES} == {status.value for status in Status}
    assert set(NAMES) == set(CLAIMS)


def test_every_field_is_stored() -> None:
    """A field that a version adds comes with a stored record that has it."""
    assert {field for name in NAMES for field in stored(name).record} == {field.value for field in Field} | NO_MORE

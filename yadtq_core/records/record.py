"""The record of a submitted task as a store keeps it, and its encoding: one JSON object, defaults left out.

A record may have been written by an older or a newer yadtq. A field that is missing has its default, and a field that
this version does not know is kept as it is. So a new field is one line of `StoredRecord`, with a default that is right
for every record written before.
"""

from __future__ import annotations

from typing import Any

import msgspec

from yadtq_core.model import DELAYED, ENDED, Attempt, Error, Record, Status
from yadtq_core.model.terms import seconds


class DamagedRecord(Exception):
    """The bytes of a record cannot be read; the text says why."""


class StoredRecord(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One record. Times are milliseconds by the store's clock, fences are microseconds."""

    id: str
    task: str
    submitted_at: int
    status: Status
    queue: str = "default"
    digest: str = ""
    """Of task and arguments, as `Message.digest`."""
    fence: int = 0
    """0 until the first claim."""
    attempt: int = 0
    """Runs begun."""
    lost: int = 0
    """Runs whose worker or child was lost."""
    worker_id: str | None = None
    started_at: int | None = None
    incarnation: str | None = None
    """Of the worker that holds the lease."""
    nonce: str | None = None
    """Of the claim that gave the lease."""
    deadline: int | None = None
    """The end of the lease; for a scheduled record the time at which it is due."""
    due: int | None = None
    """Its time in `open`, `scheduled` or `ready`; None for one that has ended and needs no dead letter any more."""
    position: str | None = None
    """Of its message in the broker."""
    released: bool = False
    """Waits for a free slot, and no longer for its message: released, offered, reclaimed, or not found in the log."""
    taken: bool = False
    """A worker has taken it from `ready`, and is about to claim it."""
    lost_fence: int | None = None
    """The fence under which the last loss was counted, until the next claim: a late extend or finish takes it back."""
    unknown_since: int | None = None
    """The first release for an unknown task that no peer had loaded, since the last one for another reason."""
    note: str | None = None
    progress: str | None = None
    cancel: str | None = None
    """The reason of a requested cancel."""
    finished_at: int | None = None
    expires_at: int | None = None
    result: bytes | None = None
    content_type: str = ""
    error: Error | None = None
    history: list[Attempt] = []
    unknown: dict[str, Any] = {}
    """Fields that a newer yadtq wrote. In the encoding they are fields of the record, not an object of their own."""

    @property
    def ended(self) -> bool:
        """True for a record that has ended."""
        return self.status in ENDED

    @property
    def unclaimed(self) -> bool:
        """True for a record that waits for its first run, and for its message."""
        return self.status is Status.QUEUED and not self.fence and not self.released

    def runs_under(self, fence: int) -> bool:
        """Return whether a run with this fence is the record's current run and has not ended.

        A run that a sweep has put back to `queued` is current until another claim.
        """
        return self.fence == fence != 0 and self.status in (Status.PROCESSING, Status.QUEUED)

    def shown(self) -> Record:
        """Return the record as callers see it."""
        return Record(
            id=self.id,
            task=self.task,
            status=self.status,
            queue=self.queue,
            submitted_at=self.submitted_at / 1000,
            attempt=self.attempt,
            lost=self.lost,
            fence=self.fence,
            result=self.result,
            content_type=self.content_type if self.result is not None else "",
            error=self.error,
            worker_id=self.worker_id,
            started_at=seconds(self.started_at),
            finished_at=seconds(self.finished_at),
            due_at=seconds(self.deadline) if self.status in DELAYED else None,
            progress=self.progress,
            note=self.cancel if self.status is Status.CANCELLED else self.note,
            cancel_requested=self.cancel is not None,
            position=self.position,
            history=tuple(self.history),
        )


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StoredRecord).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode


def encode(record: StoredRecord) -> bytes:
    """Return the record as a store keeps it."""
    if not record.unknown:
        return _encode(record)
    fields = msgspec.to_builtins(record)
    return _encode(fields.pop("unknown") | fields)


def decode(data: bytes) -> StoredRecord:
    """Return the record; raises DamagedRecord."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _of_newer_version(data)


def _of_newer_version(data: bytes) -> StoredRecord:
    """Return a record with fields that this version does not know, kept in `unknown`."""
    try:
        fields = _object(data)
        unknown = {name: fields.pop(name) for name in fields.keys() - set(StoredRecord.__struct_fields__)}
        return msgspec.convert(fields | {"unknown": unknown}, StoredRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedRecord(str(error)) from None

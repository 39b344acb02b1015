"""Reads values of the model from Redis: the hash of a record, a worker's row, an epoch's text, the counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import structs

from yadtq_core.backends.redis.keys import Field
from yadtq_core.model import (
    DELAYED,
    Attempt,
    Counts,
    Epoch,
    Error,
    Past,
    Record,
    Reset,
    Status,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
)
from yadtq_core.model.terms import damaged, greatest_loss

JSON = "application/json"
"""The content type of a result whose record names none."""

_STATUSES = frozenset(status.value for status in Status)
_TEXTS = frozenset(Field) - {Field.RESULT}


def _seconds(milliseconds: str) -> float:
    return int(milliseconds) / 1000


_SPECIAL = {
    Field.STATUS,
    Field.SUBMITTED_AT,
    Field.RESULT,
    Field.CONTENT_TYPE,
    Field.ERROR,
    Field.NOTE,
    Field.HISTORY,
}
"""Fields of a record that need a special rule in `_record`."""
_READERS: dict[Any, Callable[[str], Any]] = {int: int, float: _seconds, float | None: _seconds}
"""By the type of an attribute of `Record`; any other attribute is the text itself."""
_TYPES = {attribute.name: attribute.type for attribute in structs.fields(Record)}
_PLAIN = {
    field: (field.name.lower(), _READERS.get(_TYPES[field.name.lower()], str))
    for field in Field
    if field.name.lower() in _TYPES and field not in _SPECIAL
}
"""Attribute and reader of each field that has the name of an attribute of `Record`."""
_NUMBERS = {Field.SUBMITTED_AT, Field.DEADLINE} | {field for field, (_, read) in _PLAIN.items() if read is not str}
_error = msgspec.json.Decoder(Error)
_attempt = msgspec.json.Decoder(Attempt)


def record_of(task_id: str, fields: Mapping[bytes, bytes]) -> Record | None:
    """Return the record in this hash: None for an empty hash, a failed record with the reason for a damaged one.

    Fields of a newer version are ignored.
    """
    if not fields:
        return None
    try:
        return _record(task_id, {name.decode(errors="replace"): value for name, value in fields.items()})
    except (ValueError, KeyError) as error:  # msgspec's and Unicode's errors are ValueErrors
        return damaged(task_id, _missing(error) if isinstance(error, KeyError) else _wrong(fields, error))


def _missing(error: KeyError) -> str:
    return f"field {str(error.args[0])!r} is missing"


def _wrong(fields: Mapping[bytes, bytes], error: Exception) -> str:
    """Return which field of a damaged record is wrong, or the parser's message if that is not known."""
    for name, value in fields.items():
        field, text = name.decode(errors="replace"), value[:40].decode(errors="backslashreplace")
        if (field in _NUMBERS and not text.isdigit()) or (field == Field.STATUS and text not in _STATUSES):
            return f"field {field} is {text!r}"
    return str(error)


def _record(task_id: str, fields: Mapping[str, bytes]) -> Record:
    text = {name: value.decode() for name, value in fields.items() if name in _TEXTS}
    status = Status(text[Field.STATUS])
    plain = {name: read(text[field]) for field, (name, read) in _PLAIN.items() if field in text}
    values: dict[str, Any] = {"queue": "default", "task": text[Field.TASK]} | plain
    return Record(
        id=task_id,
        status=status,
        submitted_at=_seconds(text[Field.SUBMITTED_AT]),
        result=fields.get(Field.RESULT),
        content_type=text.get(Field.CONTENT_TYPE, JSON) if Field.RESULT in fields else "",
        error=_error.decode(text[Field.ERROR]) if Field.ERROR in text else None,
        due_at=_seconds(text[Field.DEADLINE]) if status in DELAYED and Field.DEADLINE in text else None,
        note=text.get(Field.CANCEL) if status is Status.CANCELLED else text.get(Field.NOTE),
        cancel_requested=Field.CANCEL in text,
        history=_history(text.get(Field.HISTORY, "")),
        **values,
    )


def _history(lines: str) -> tuple[Attempt, ...]:
    return tuple(_attempt.decode(line) for line in lines.split("\n") if line)


def history_line(worker_id: str, reason: str) -> bytes:
    """Return the beginning of a history line; the script adds attempt and time, known to Redis alone."""
    return msgspec.json.encode({"worker_id": worker_id, "reason": reason[:200]})[:-1] + b","


def epoch_of(answer: list[int | bytes]) -> Epoch:
    """Return the epoch in an answer of the epoch script: now, id, mark, past as `id:from:begins:ends;…`."""
    _, epoch_id, mark, past = answer
    lines = (line.split(":") for line in _text(past).split(";") if line)
    return Epoch(_text(epoch_id), int(mark), tuple(Past(line[0], int(line[1])) for line in lines))


def reset_of(past: bytes, after_ms: int) -> Reset | None:
    """Return the greatest loss in an epoch's past that ended later than `after_ms`."""
    lines = (line.split(b":") for line in past.split(b";") if line)
    return greatest_loss(((int(mark), int(begins), int(ends)) for _, mark, begins, ends in lines), after_ms)


def _text(value: int | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def counts_of(shards: Iterable[Mapping[bytes, bytes]]) -> Counts:
    """Return the sums of the shards' counters, without zeros."""
    queues: dict[str, dict[str, int]] = {}
    ended: dict[str, int] = {}
    for fields in shards:
        for field, number in fields.items():
            queue, _, status = field.decode().rpartition(":")
            into = queues.setdefault(queue, {}) if queue else ended
            into[status] = into.get(status, 0) + int(number)
    kept = {queue: {s: n for s, n in by.items() if n} for queue, by in queues.items()}
    return Counts({queue: by for queue, by in kept.items() if by}, {s: n for s, n in ended.items() if n})


_LISTS = ("queues", "tasks")
"""Fields of a worker's row that hold names, separated by commas."""


def worker_fields(worker: WorkerIdentity, stats: WorkerStats) -> list[str | int | float]:
    """Return a worker's row as fields and values."""
    row = structs.asdict(worker) | structs.asdict(stats) | {name: ",".join(getattr(stats, name)) for name in _LISTS}
    return [part for pair in row.items() for part in pair]


def worker_of(fields: Mapping[bytes, bytes], now_ms: int, lease_ms: int) -> WorkerRow | None:
    """Return the worker in this row; None if the row has expired or cannot be read."""
    try:
        row: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
        row |= {name: _names(row[name]) for name in _LISTS}
        last_seen = int(row["last_seen"])
        identity = msgspec.convert(row, WorkerIdentity, strict=False)
        stats = msgspec.convert(row, WorkerStats, strict=False)
    except (KeyError, ValueError):
        return None
    online = now_ms - last_seen < lease_ms and stats.state != "offline"
    return WorkerRow(identity, stats, last_seen / 1000, online=online)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()

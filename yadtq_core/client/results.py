"""The result or the error of an ended task, and the JSON object of a record."""

from __future__ import annotations

import time
from typing import Any

from yadtq_core.errors import SerializationError, TaskCancelled, TaskFailed, TaskNotFound
from yadtq_core.model import Record, Reset, Status
from yadtq_core.wire.payloads import Payloads


def result_of(record: Record, payloads: Payloads) -> Any:
    """Return the return value of an ended task.

    Raises TaskFailed or TaskCancelled if it ended that way, SerializationError for an unreadable result.
    """
    if record.status is Status.SUCCESS:
        return _loaded(record, payloads)
    error = record.error
    if record.status is Status.CANCELLED:
        raise TaskCancelled(record.id, error.message if error else None)
    raise TaskFailed(
        record.id,
        error.type if error else "",
        error.message if error else f"its record has the status {record.status} and no error",
        error.traceback if error else None,
    )


def not_found(task_id: str, reset: Reset | None) -> TaskNotFound:
    """Return the error for a task without a record; `reset` is the reset that may have lost it."""
    if reset is None:
        return TaskNotFound(task_id)
    return TaskNotFound(task_id, reset.at, _loss(reset))


def _loss(reset: Reset) -> str:
    at = moment(reset.at)
    if reset.since:
        return f"was written after {moment(reset.since)} and lost when the result store was reset at {at}"
    if reset.mark:
        return f"was lost when the result store was reset at {at}"
    return f"is from before {at}, when the result store was empty"


def moment(seconds: float) -> str:
    """Return a time of the local clock, to the millisecond, with its offset."""
    local = time.localtime(seconds)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', local)}.{int(seconds * 1000) % 1000:03d} {time.strftime('%z', local)}"


def record_as_json(record: Record, payloads: Payloads) -> dict[str, Any]:
    """Return the object that `yadtq query --json` prints: missing fields are None, times are seconds since the epoch.

    Never raises: a result that cannot be read, or that JSON cannot express, is shown as an error.
    """
    result, error = None, record.error
    shown = {"type": error.type, "message": error.message, "traceback": error.traceback} if error else None
    if record.status is Status.SUCCESS:
        try:
            result = payloads.json.loads(payloads.json.dumps(_loaded(record, payloads)))
        except SerializationError as unreadable:
            shown = {"type": "SerializationError", "message": str(unreadable), "traceback": None}
    return {
        "task_id": record.id,
        "task": record.task,
        "status": record.status.value,
        "result": result,
        "error": shown,
        "worker_id": record.worker_id,
        "attempt": record.attempt,
        "submitted_at": record.submitted_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "queue": record.queue,
        "progress": record.progress,
    }


def _loaded(record: Record, payloads: Payloads) -> Any:
    return None if record.result is None else payloads.result(record.result, record.content_type, record.id)

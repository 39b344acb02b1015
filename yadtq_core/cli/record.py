"""Prints a task record as text: three lines, or every field with `--full`."""

import json
from typing import Any

from yadtq_core.cli.output import say, say_lines
from yadtq_core.client.results import moment, record_as_json
from yadtq_core.model import DELAYED, Record, Status
from yadtq_core.wire.payloads import Payloads

MAX_SHOWN = 2000
"""The characters of a result or error that are shown without `--full`."""


def say_record(record: Record, payloads: Payloads, *, full: bool = False) -> None:
    """Print a record: ID, status, then result, error, progress or note."""
    say(f"Task ID: {record.id}")
    say_state(record, payloads, full=full)
    if full:
        _say_details(record)


def say_row(record: Record, payloads: Payloads) -> None:
    """Print a record in one line: ID, status, and result or error."""
    shown = record_as_json(record, payloads)
    outcome = ""
    if shown["error"] is not None:
        outcome = _error_text(shown["error"])
    elif record.status is Status.SUCCESS:
        outcome = json.dumps(shown["result"], ensure_ascii=False)
    say(f"{record.id} {record.status} {_cut(outcome, full=False)}".rstrip())


def say_state(record: Record, payloads: Payloads, *, full: bool = False) -> None:
    """Print the status, then result, error, progress or the reason to wait."""
    shown = record_as_json(record, payloads)
    say(f"Status: {record.status}")
    if shown["error"] is not None:
        say(f"Error: {_cut(_error_text(shown['error']), full=full)}")
    elif record.status is Status.SUCCESS:
        say(f"Result: {_cut(json.dumps(shown['result'], ensure_ascii=False), full=full)}")
    elif record.progress:
        say(f"Progress: {progress_text(record.progress)}")
    if record.note and record.status in (Status.QUEUED, *DELAYED):
        say(f"Note: {record.note}")


def progress_text(progress: str) -> str:
    """Return `0.4 half way` as `40 % half way`, and text of another form unchanged."""
    fraction, _, text = progress.partition(" ")
    try:
        return f"{float(fraction):.0%} {text}".replace("%", " %", 1).rstrip()
    except ValueError:
        return progress


def _error_text(error: dict[str, Any]) -> str:
    return f"{error['type']}: {error['message']}" if error["type"] else str(error["message"])


def _say_details(record: Record) -> None:
    rows: list[tuple[str, Any]] = [
        ("Task", record.task),
        ("Queue", record.queue),
        ("Worker", record.worker_id),
        ("Attempt", record.attempt or None),
        ("Lost runs", record.lost or None),
        ("Submitted", _moment(record.submitted_at)),
        ("Due", _moment(record.due_at)),
        ("Started", _moment(record.started_at)),
        ("Finished", _moment(record.finished_at)),
        ("Duration", _duration(record)),
        ("Cancel", "requested" if record.cancel_requested and record.finished_at is None else None),
    ]
    for name, value in rows:
        if value is not None:
            say(f"{name}: {value}")
    for earlier in record.history:
        say(f"Earlier: attempt {earlier.attempt} on {earlier.worker_id}, {_moment(earlier.ended_at)}: {earlier.reason}")
    if record.error is not None and record.error.traceback:
        say("Traceback:")
        say_lines(record.error.traceback)


def _moment(seconds: float | None) -> str | None:
    return moment(seconds) if seconds else None


def _duration(record: Record) -> str | None:
    if record.started_at is None or record.finished_at is None:
        return None
    return f"{record.finished_at - record.started_at:.3f} s"


def _cut(text: str, *, full: bool) -> str:
    if full or len(text) <= MAX_SHOWN:
        return text
    return f"{text[:MAX_SHOWN]} … ({len(text)} characters; --full shows all)"

"""The arguments of each script, made from values, and the values in its answer.

Pure functions on the hot path of clients and workers: lists are flat, equal answers are one shared value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from yadtq_core.backends.redis.decoding import JSON, history_line
from yadtq_core.model import (
    Answer,
    CancelCode,
    CreateCode,
    Created,
    Delivery,
    Due,
    Error,
    ExtendCode,
    FinishCode,
    Hold,
    Outcome,
    Placed,
    Release,
    ReleaseReason,
    Status,
    Submission,
    Verdict,
)
from yadtq_core.model.terms import OFFSETS, OTHER_ARGUMENTS, PARTITIONS, milliseconds
from yadtq_core.wire.envelope import delivery_of, kept_body

_FINISH = {1: FinishCode.OK, 2: FinishCode.ALREADY, 3: FinishCode.FENCED, 4: FinishCode.MISSING}
_EXTEND = {1: ExtendCode.OK, 2: ExtendCode.CANCEL}
_CANCEL = {1: CancelCode.CANCELLED, 2: CancelCode.REQUESTED, 3: CancelCode.ENDED, 4: CancelCode.MISSING}
_VERDICT = {1: Verdict.RUN, 2: Verdict.BUSY, 3: Verdict.POISON}
NEEDS_MESSAGE = Answer(Verdict.ERROR, error="the record is missing")
"""The first answer for a record that must be rebuilt; the second call brings its message."""
_PLAIN = {
    0: Answer(Verdict.DONE),
    -1: NEEDS_MESSAGE,
    -2: Answer(Verdict.LATER),
    -3: Answer(Verdict.TOO_OLD),
    -4: Answer(Verdict.OFFERED),
    -5: OTHER_ARGUMENTS,
}
_RECLAIMED, _FAILED = 1, 2
_POSITION = re.compile(r"([0-9]{1,5}):([0-9]{1,12})")
_CODE = {Status.FAILED: "f", Status.CANCELLED: "c", Status.SCHEDULED: "r"}
_encode = msgspec.json.Encoder().encode


def submissions_out(submissions: Sequence[Submission]) -> list[Any]:
    """Return the arguments of `create` for each submission."""
    arguments: list[Any] = []
    for submission in submissions:
        message = submission.message
        arguments += (message.task, message.queue, message.digest, milliseconds(submission.delay), submission.body)
    return arguments


def created_in(answer: list[Any]) -> list[Created]:
    """Return the answers of `create`. A damaged record is a CONFLICT: it exists and is not this submission's."""
    now_ms, in_stream = answer[0], bool(answer[1])
    queued = Created(CreateCode.NEW, now_ms, Status.QUEUED, published=in_stream)
    scheduled = Created(CreateCode.NEW, now_ms, Status.SCHEDULED, published=False)
    new = {1: queued, 2: scheduled}
    return [new[code] if code.__class__ is int else _known(code) for code in answer[2:]]


def _known(found: list[Any] | bytes) -> Created:
    if isinstance(found, bytes):
        return Created(CreateCode.CONFLICT, 0, Status.FAILED, published=False)
    same, submitted_at_ms, status, published = found
    code = CreateCode.EXISTS if same else CreateCode.CONFLICT
    return Created(code, submitted_at_ms, _status(status), published=bool(published))


def _status(text: bytes) -> Status:
    try:
        return Status(text.decode())
    except ValueError:
        return Status.FAILED  # a damaged record, as `get` shows it


def positions_out(positions: Sequence[Placed], shard: int, shards: int) -> list[Any]:
    """Return the arguments of `confirm` for each position of this shard."""
    return [part for placed in positions for part in (placed.position, _score(placed.position, shard, shards))]


def _score(position: str, shard: int, shards: int) -> int | str:
    """Return the score of `PARTITION:OFFSET` in `waiting`, empty if a record of this shard cannot wait there."""
    found = _POSITION.fullmatch(position)
    if not found:
        return ""
    partition, offset = int(found[1]), int(found[2])
    fits = partition < PARTITIONS and offset < OFFSETS and partition % shards == shard
    return partition * OFFSETS + offset if fits else ""


def messages_out(deliveries: Sequence[Delivery]) -> list[Any]:
    """Return the arguments of `claim` and `offer` for records that may have to be rebuilt."""
    arguments: list[Any] = []
    for delivery in deliveries:
        message = delivery.message
        arguments += (
            message.task,
            message.queue,
            message.digest,
            message.submitted_at_ms,
            delivery.position,
            delivery.body,
        )
    return arguments


def answers_in(answer: list[Any]) -> list[Answer]:
    """Return the answers of `claim` or `offer`."""
    now_ms, fence = answer[0], answer[1]
    known = dict(_PLAIN)
    found: list[Answer] = []
    for item in answer[3:]:
        if item.__class__ is not int:
            found.append(_answer(item))
        elif item in known:
            found.append(known[item])
        else:
            known[item] = Answer(Verdict.RUN, fence, item, 0, 0, now_ms)
            found.append(known[item])
    return found


def _answer(item: list[Any] | bytes) -> Answer:
    if isinstance(item, bytes):
        return Answer(Verdict.ERROR, error=f"record is damaged: {item.decode(errors='replace')[:200]}")
    code, fence, attempt, wait_ms, lost, started_at_ms = item
    return Answer(_VERDICT[code], fence, attempt, wait_ms, lost, started_at_ms)


def holds_out(holds: Sequence[Hold]) -> list[Any]:
    """Return the arguments of `extend` for each hold."""
    return [part for hold in holds for part in (hold.fence, hold.progress)]


def extended_in(answer: list[Any]) -> list[ExtendCode]:
    """Return the answers of `extend`; a damaged record counts as lost, because its outcome will be refused."""
    return [_EXTEND.get(code, ExtendCode.LOST) for code in answer]


def outcomes_out(outcomes: Sequence[Outcome]) -> list[Any]:
    """Return the arguments of `finish` for each outcome."""
    arguments: list[Any] = []
    for outcome in outcomes:
        if outcome.status is Status.SUCCESS:
            if outcome.result is None:
                arguments += (outcome.fence, "n", b"", b"", b"", 0)
            else:
                kind = outcome.content_type
                arguments += (outcome.fence, "s", outcome.result, b"" if kind == JSON else kind, b"", 0)
        else:
            arguments += _unsuccessful(outcome)
    return arguments


def _unsuccessful(outcome: Outcome) -> tuple[Any, ...]:
    error = outcome.error or Error("", "failed without an error")
    reason = f"{error.type}: {error.message}" if error.type else error.message
    line = history_line(outcome.worker_id, reason)
    delay = milliseconds(outcome.retry_in or 0.0)
    return (outcome.fence, _CODE[outcome.status], _encode(error), b"", line, delay)


def finished_in(answer: list[Any]) -> list[FinishCode]:
    """Return the answers of `finish` or `release`."""
    return [_FINISH.get(code, FinishCode.ERROR) for code in answer]


def releases_out(releases: Sequence[Release], worker_id: str) -> list[Any]:
    """Return the arguments of `release` for each release, with the error in case it fails the record."""
    arguments: list[Any] = []
    for release in releases:
        kind = "UnknownTask" if release.reason is ReleaseReason.UNKNOWN_TASK else "WorkerLost"
        note = release.note
        arguments += (
            release.fence,
            release.reason.value,
            milliseconds(release.delay),
            1 if release.lost else 0,
            note,
            history_line(worker_id, note or "worker lost") if release.lost else b"",
            _encode(Error(kind, note or f"requeued: {release.reason.value}")),
        )
    return arguments


def cancelled_in(answer: list[Any]) -> list[CancelCode]:
    """Return the answers of `cancel`; a damaged record has ended, as `get` shows it."""
    return [_CANCEL.get(code, CancelCode.ENDED) for code in answer[1:]]


def watched_in(answer: list[Any]) -> list[bool]:
    """Return the answers of `watch`; waiting for a damaged record ends too, because it never will."""
    return [code != 0 for code in answer]


def ended_in(answer: list[Any]) -> list[bool]:
    """Return the answers of `ended`; a damaged record has not ended, and its claim says what is wrong."""
    return [code == 1 for code in answer]


def messages_in(answer: list[Any]) -> list[bytes | None]:
    """Return the answers of `messages`."""
    return [kept_body(body, submitted_at_ms) for submitted_at_ms, body in zip(answer[::2], answer[1::2], strict=True)]


def swept_in(ids: Sequence[str], answer: list[Any]) -> tuple[list[Due], list[Due]]:
    """Return what `sweep` has reclaimed, and what needs a dead letter. A damaged record is left for later."""
    found = [
        (item[0], Due(task_id, item[1].decode(), item[2].decode()))
        for task_id, item in zip(ids, answer[2:], strict=True)
        if isinstance(item, list)
    ]
    return [due for code, due in found if code & _RECLAIMED], [due for code, due in found if code & _FAILED]


def taken_in(bodies: list[Any]) -> list[Delivery]:
    """Return what `take` has taken, without messages that this process cannot read."""
    deliveries = (
        delivery_of(body, submitted_at_ms) for submitted_at_ms, body in zip(bodies[::2], bodies[1::2], strict=True)
    )
    return [delivery for delivery in deliveries if delivery is not None]

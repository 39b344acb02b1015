"""The wire format: one JSON object per message, with the serialised arguments embedded unchanged.

    {"submitted_at":1755103784123,"v":1,"id":"…","task":"add","args":[[1,2,3],{}],"hash":"…","queue":"default"}

Every version keeps three properties: `v` is the version as an integer, `id` is the task ID as text, and `submitted_at`,
once it is known, is the first field. A reader ignores fields that it does not know, so an optional field needs no new
version. No field names a class, a module or a function: a task name is only looked up in the registry.

A rename, or a field with another meaning, needs a new version. To add version 2:

1. Change `Message`; write a reader that turns a body of version 1 into the new `Message` and keeps `v=1` in it.
2. Set `VERSION = 2` and `READERS = {1: that reader, 2: the decoder of Message}`. `encode` then writes version 2.
3. Store messages of version 2 as `tests/formats/message-v2-*.json`. The files of version 1 stay there.

`verification/wire_version2.py` does all of this for one process, so that tests can mix two versions.

A worker reads every version up to its own. It leaves a newer message to workers that know the version, so workers are
upgraded before clients.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from yadtq_core.errors import EnvelopeError, InvalidId, InvalidInput
from yadtq_core.model import Delivery, Message, check_id, check_queue, check_task_name

VERSION = 1
"""The version that this yadtq writes, and the newest that it reads."""
READERS: dict[int, Callable[[bytes], Message]] = {1: msgspec.json.Decoder(Message).decode}
"""The reader of each version. A reader raises one of `_MALFORMED` for a body that does not have its format."""
DIGEST_BYTES = 16
"""Bytes of SHA-256 that are kept: enough to tell different arguments apart, in half the memory of every record."""

_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
encode: Callable[[Message], bytes] = msgspec.json.Encoder().encode
"""Return the body of a message, in the format of VERSION."""


class _Head(Struct):
    """The fields that every version has."""

    id: str = ""
    v: int = 0


_decode_head = msgspec.json.Decoder(_Head).decode


def digest_of(task: str, arguments: bytes) -> str:
    """Return the digest of a task's name and its serialised arguments, 22 characters of URL-safe base64.

    Taken before any codec and without headers and options, so that the same call has the same digest always.
    """
    hashed = hashlib.sha256(b"%b\0%b" % (task.encode(), arguments)).digest()
    return urlsafe_b64encode(hashed[:DIGEST_BYTES]).rstrip(b"=").decode()


def build(task: str, arguments: bytes, **fields: Any) -> Message:
    """Return a message with its version and digest, for tools and tests; the client builds its own, which is faster.

    arguments: the serialised `[positional, keyword]`, without codecs. fields: the other fields of `Message`.
    """
    return Message(v=VERSION, task=task, arguments=Raw(arguments), digest=digest_of(task, arguments), **fields)


def stamp(body: bytes, submitted_at_ms: int) -> bytes:
    """Return an encoded message with the time of its record put in front; one that has a time keeps it."""
    if body.startswith(b'{"submitted_at":'):
        return body
    return b'{"submitted_at":%d,%b' % (submitted_at_ms, body[1:])


def decode(body: bytes) -> Message:
    """Return the message of a body of any version up to VERSION.

    Raises EnvelopeError; its `task_id` is set only when the version is newer and the message can be left to workers
    that know it. A malformed message of a known version has none: no worker can read it, so it becomes a dead letter.
    """
    message = read(body)
    try:
        check_id(message.id)
        check_task_name(message.task)
        check_queue(message.queue)
    except InvalidInput as error:
        raise EnvelopeError(str(error)) from None
    return message


def read(body: bytes) -> Message:
    """Do as `decode` does, but do not check ID, task name and queue: for a body that was decoded before.

    The reader of VERSION comes first: nearly every message has this version, and is then parsed only once.
    """
    try:
        message = READERS[VERSION](body)
    except _MALFORMED as error:
        return _read_other_version(body, str(error))
    return message if message.v == VERSION else _read_other_version(body, "")


def _read_other_version(body: bytes, problem: str) -> Message:
    """Read a body by the version that it names; `problem` is the error of the current reader, if it had one."""
    try:
        head = _decode_head(body)
    except _MALFORMED:
        raise EnvelopeError(problem) from None
    reader = READERS.get(head.v)
    if reader is None:
        raise _unknown_version(head)
    if head.v == VERSION:
        raise EnvelopeError(problem, version=VERSION)
    try:
        return reader(body)
    except _MALFORMED as error:
        raise EnvelopeError(str(error), version=head.v) from None


def _unknown_version(head: _Head) -> EnvelopeError:
    reason = f"format version {head.v}, this yadtq reads {', '.join(map(str, sorted(READERS)))}"
    try:
        return EnvelopeError(reason, check_id(head.id) if head.v > VERSION else None, head.v)
    except InvalidId:
        return EnvelopeError(reason, version=head.v)


def kept_body(body: bytes, submitted_at_ms: int) -> bytes | None:
    """Return the body of a kept message with the time of its record; None if there is no message."""
    return stamp(body, submitted_at_ms) if body and submitted_at_ms else body or None


def delivery_of(body: bytes, submitted_at_ms: int) -> Delivery | None:
    """Return a kept message as a delivery without a place in a broker; None if it is empty or cannot be read."""
    stamped = kept_body(body, submitted_at_ms)
    try:
        return Delivery(decode(stamped), stamped) if stamped else None
    except EnvelopeError:
        return None

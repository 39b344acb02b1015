"""The wire format: one JSON object a message, the arguments embedded as they were serialised.

    {"submitted_at":1755103784123,"v":1,"id":"…","task":"add","args":[[1,2,3],{}],"hash":"…","queue":"default"}

`v` and `id` stay readable in every version. Fields that a reader does not know are passed over. Nothing in a
message ever names a class, module or function: a task's name is only looked up in the registry.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode

import msgspec
from msgspec import Raw, Struct

from yadtq_core.errors import EnvelopeError, InvalidId, InvalidInput
from yadtq_core.model import Message, check_id, check_queue, check_task_name

VERSION = 1
DIGEST_BYTES = 16
"""Of SHA-256: enough to tell different arguments apart, half the memory in every record."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class _Head(Struct):
    """What can be read of a message whatever its version."""

    id: str
    v: int = 0


_decode_head = msgspec.json.Decoder(_Head).decode


class Encoded(Struct, frozen=True, gc=False):
    """A message's encoding with what a broker must know to publish it."""

    id: str
    queue: str
    body: bytes


def digest_of(task: str, arguments: bytes) -> str:
    """Return the digest of a task's name and its serialised arguments, 22 characters of URL-safe base64.

    Taken before any codec and without headers and options, so that the same call has the same digest always.
    """
    hashed = hashlib.sha256(b"%b\0%b" % (task.encode(), arguments)).digest()
    return urlsafe_b64encode(hashed[:DIGEST_BYTES]).rstrip(b"=").decode()


def build(
    task: str,
    arguments: bytes,
    *,
    id: str,
    queue: str = "default",
    headers: dict[str, str] | None = None,
    retries: int | None = None,
    carried: Raw | None = None,
    codecs: str = "",
    signature: str = "",
    version: str = "",
) -> Message:
    """Return the message of one call; `arguments` is the serialised `[positional, keyword]`.

    carried: the arguments as they travel, where they passed codecs, and the names of these.
    signature, version: the task's, where it is known.
    """
    return Message(
        v=VERSION,
        id=id,
        task=task,
        arguments=Raw(arguments) if carried is None else carried,
        digest=digest_of(task, arguments),
        queue=queue,
        headers=headers or {},
        retries=retries,
        codecs=codecs,
        signature=signature,
        version=version,
    )


def encode(message: Message) -> bytes:
    """Return the message as it travels."""
    return _encode(message)


def stamp(body: bytes, submitted_at_ms: int) -> bytes:
    """Return an encoded message with the time of its record put in front; one that has a time keeps it."""
    if body.startswith(b'{"submitted_at":'):
        return body
    return b'{"submitted_at":%d,%b' % (submitted_at_ms, body[1:])


def decode(body: bytes) -> Message:
    """Return the message; raises EnvelopeError, with ID and version where the message is of a newer format."""
    try:
        message = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(body, str(error)) from None
    if message.v != VERSION:
        raise _unreadable(body, f"format version {message.v}, this yadtq reads {VERSION}")
    try:
        check_id(message.id)
        check_task_name(message.task)
        check_queue(message.queue)
    except InvalidInput as error:
        raise EnvelopeError(str(error)) from None
    return message


def _unreadable(body: bytes, reason: str) -> EnvelopeError:
    """Return the error; it names an ID only where a newer yadtq can read what we cannot.

    What is of our own format and cannot be read, nobody can: it must become a dead letter, not be left to others.
    """
    try:
        head = _decode_head(body)
        newer = head.v > VERSION
        return EnvelopeError(reason, check_id(head.id) if newer else None, head.v)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidId):
        return EnvelopeError(reason)

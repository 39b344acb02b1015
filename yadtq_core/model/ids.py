"""IDs and names: of tasks, queues and shards."""

from __future__ import annotations

import re
import uuid
from os import urandom

from yadtq_core.errors import InvalidId, InvalidInput, InvalidTask

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TASK = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_QUEUE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def new_id() -> str:
    """Return a new random task ID (a version 4 UUID), at less than half the cost of `str(uuid.uuid4())`."""
    digits = urandom(16).hex()
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def derived_id(namespace: str, task: str, key: str) -> str:
    """Return the ID of an idempotency key (a version 5 UUID): equal inputs have equal IDs."""
    root = uuid.uuid5(uuid.NAMESPACE_URL, f"yadtq:{namespace}:{task}")
    return str(uuid.uuid5(root, key))


def check_id(task_id: str) -> str:
    """Return `task_id` if it is a UUID in canonical form; raise InvalidId otherwise.

    This is stricter than `uuid.UUID`, which accepts braces and `urn:` too: an ID becomes part of Redis keys.
    """
    if isinstance(task_id, str) and _ID.fullmatch(task_id):
        return task_id
    raise InvalidId(f"not a task ID: {str(task_id)[:80]!r}; IDs look like 0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11")


def check_task_name(name: str) -> str:
    """Return `name` if it can name a task; raise InvalidTask otherwise."""
    if isinstance(name, str) and _TASK.fullmatch(name):
        return name
    raise InvalidTask(
        f"not a task name: {str(name)[:80]!r}; a name starts with a letter or _ and goes on with letters, digits, "
        "'_', '.' or '-' (128 at most)"
    )


def check_queue(name: str) -> str:
    """Return `name` if it can name a queue; raise InvalidInput otherwise (it becomes part of a topic's name)."""
    if isinstance(name, str) and _QUEUE.fullmatch(name):
        return name
    raise InvalidInput(
        f"not a queue name: {str(name)[:80]!r}; use lower-case letters, digits, '_' and '-' (64 at most)"
    )


def shard_of(task_id: str, shards: int) -> int:
    """Return the shard of a task: the last two hex digits of its ID modulo the number of shards (1 to 256)."""
    return int(task_id[-2:], 16) % shards

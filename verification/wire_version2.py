"""A version 2 of the wire format, so that tests can mix it with version 1: the field `task` is named `name`.

`install()` makes this process write version 2 and read both versions, as a future release of yadtq would. Each process
needs it: the client, the worker and, by a module of tasks, its children.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Raw

from yadtq_core.model import Message
from yadtq_core.wire import envelope

VERSION = 2
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_write_version1, _read_version1 = envelope.encode, envelope.READERS[1]


def write(message: Message) -> bytes:
    """Return the body of a message in version 2."""
    return _renamed(_write_version1(message), "task", "name")


def read(body: bytes) -> Message:
    """Return the message of a body in version 2; a field `task` is ignored, as any unknown field is."""
    return _read_version1(_renamed(body, "name", "task"))


def _renamed(body: bytes, old: str, new: str) -> bytes:
    kept = {name: value for name, value in _fields(body).items() if name != new}
    return msgspec.json.encode({new if name == old else name: value for name, value in kept.items()})


def install() -> None:
    """Write version 2 and read versions 1 and 2 from now on, in this process."""
    envelope.READERS[VERSION] = read
    envelope.VERSION = VERSION
    envelope.encode = write


@contextmanager
def installed() -> Iterator[None]:
    """Write version 2 and read both versions within the block."""
    install()
    try:
        yield
    finally:
        envelope.encode = _write_version1
        envelope.VERSION = 1
        del envelope.READERS[VERSION]

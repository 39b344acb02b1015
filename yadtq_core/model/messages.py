"""Messages: on the wire, on their way into the broker, and as a worker receives them."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from msgspec import Meta, Raw, Struct

MAX_ARGUMENT_BYTES = 256 * 1024
"""Bytes of the serialised arguments of one call: far below Kafka's limit of 1 MB for a message or a batch."""
MAX_RESULT_BYTES = 1024 * 1024
"""Bytes of a serialised result: it takes up memory of Redis until it expires."""
MAX_NESTING = 32
"""Levels of lists and objects in arguments: far below the recursion limits of JSON parsers."""


class Message(
    Struct,
    frozen=True,
    gc=False,
    omit_defaults=True,
    rename={
        "arguments": "args",
        "digest": "hash",
        "submitted_at_ms": "submitted_at",
        "signature": "sig",
        "version": "ver",
    },
):
    """One call of a task on the wire.

    `submitted_at_ms` must stay the first field: the time is known only after the record was written, and is then put in
    front of the encoded message (`envelope.stamp`).
    """

    submitted_at_ms: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Redis's time at the creation of the record; 0 until then. Bounded, as `retries` is: a number that a float cannot
    represent makes the message unreadable, and does not fail later in a worker."""
    v: int = 0
    """Format version of the body (`wire.envelope`)."""
    id: str = ""
    task: str = ""
    arguments: Raw = Raw(b"[[],{}]")
    """Serialised `[positional, keyword]`, unchanged; one base64 text if there are codecs."""
    digest: str = ""
    """Digest of task name and arguments: it differs if one ID is submitted with other arguments."""
    queue: str = "default"
    headers: dict[str, str] = {}
    retries: Annotated[int, Meta(ge=0, le=1000)] | None = None
    """How many runs may follow a failed one; None: as the task is declared."""
    codecs: str = ""
    """Names of the codecs of the arguments, in the order in which they were applied, separated by commas."""
    signature: str = ""
    """The parameters of the task in the client, for the error message if the arguments do not fit in the worker."""
    version: str = ""
    """The version of the task in the client, for the same message."""


class Partition(NamedTuple):
    """One ordered part of a queue."""

    queue: str
    number: int


class Place(NamedTuple):
    """The place of a message; the offset is one integer for every broker."""

    partition: Partition
    offset: int


class Refuse(Struct, frozen=True):
    """The answer of a plugin that refuses a submit: the reason and what to do, in one line."""

    reason: str


class Delivery(Struct, frozen=True, gc=False):
    """A message as a worker received it, and its place.

    `partition` is None for a message that a sweep took from the backend; it needs no settle.
    """

    message: Message
    body: bytes
    """The encoded message, unchanged: children read it, and a missing record is rebuilt from it."""
    partition: Partition | None = None
    offset: int = -1

    @property
    def position(self) -> str:
        """Partition and offset as the record keeps them; empty without a partition."""
        return "" if self.partition is None else f"{self.partition.number}:{self.offset}"


class Unreadable(Struct, frozen=True):
    """Bytes from the broker that this worker cannot decode, and the reason.

    `task_id` is set for a message of a newer format version, which is left to workers that know the version. Without
    it, the bytes become a dead letter.
    """

    body: bytes
    partition: Partition
    offset: int
    reason: str
    task_id: str | None = None


class Submission(Struct, frozen=True, gc=False):
    """A message for `create`, with its body, which has no time yet, and the delay of its first run (seconds)."""

    message: Message
    body: bytes
    delay: float = 0.0


class Outgoing(Struct, frozen=True, gc=False):
    """One message for the broker to publish: the ID is its key, the queue its topic, the body is sent unchanged."""

    id: str
    queue: str
    body: bytes

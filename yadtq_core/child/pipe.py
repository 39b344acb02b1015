"""The protocol between a worker and its children: three pipes with frames, and a socket with tokens.

A frame is four bytes of length and a MessagePack value. Tokens let a worker take jobs back safely. For each job the
worker sends one eight-byte number into a socket whose other end both processes can read. The process that reads a token
owns the job: the child begins it, or the worker has taken it back. The kernel gives a token to one reader only, so no
lock can stay with a process that was killed or stopped, or whose interpreter is busy for minutes. It is a socket and
not a pipe because the worker must read without waiting (MSG_DONTWAIT) while the child waits.
"""

from __future__ import annotations

import os
import struct

import msgspec
from msgspec import Struct

from yadtq_core.model import Error, Lease
from yadtq_core.settings import Settings

TOKEN = struct.Struct("<Q")
"""One token. Each read and each write is a whole number of tokens, so no token is ever split."""
_LENGTH = struct.Struct("<I")
_CHUNK = 256 * 1024
MAX_FRAME = 256 * 1024 * 1024
"""Bytes of a frame: far more than a full window of the largest arguments."""


class Job(Struct, frozen=True, gc=False, array_like=True):
    """One run for a child: the body of the message as it came, and the values of the lease that a run needs."""

    seq: int
    body: bytes
    attempt: int
    fence: int
    lost: int = 0


class Work(Struct, frozen=True, gc=False, array_like=True):
    """Worker to child: jobs, and the numbers of jobs that the worker has taken back."""

    jobs: list[Job]
    forget: list[int]


class Done(Struct, frozen=True, gc=False, array_like=True, tag=0):
    """Child to worker: a run has ended.

    retry_in: seconds until the next run, None if there is none. interrupted: the run has raised after its child
    received a stop signal (`stop_signals.py`).
    """

    seq: int
    status: str
    result: bytes | None
    content_type: str
    error: Error | None
    retry_in: float | None
    duration: float
    interrupted: bool = False


class Progress(Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Child to worker: the progress that a run has reported."""

    seq: int
    text: str


class Ready(Struct, frozen=True, array_like=True, tag=2):
    """Child to worker: the tasks that it can run, or the reason why it cannot start.

    warnings: the plugins and tasks that could not be loaded, if the child is lenient. unbound: {task: reason} of those
    that could not be bound to their hooks.
    """

    tasks: list[str]
    problem: str
    warnings: list[str] = []
    unbound: dict[str, str] = {}


class Unable(Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Child to worker: this process cannot begin a run, for a reason that another worker may not have."""

    seq: int
    reason: str


class Start(Struct, frozen=True, array_like=True, tag=0):
    """Worker to child, as the first frame of the control pipe: the configuration of the child."""

    worker_id: str
    threads: int
    imports: list[str]
    settings: Settings
    lenient: bool = False
    """Start without the plugins and tasks that cannot be loaded."""


class Cancel(Struct, frozen=True, array_like=True, tag=1):
    """Worker to child: a client has asked to cancel this run."""

    seq: int


Report = Done | Progress | Ready | Unable
Control = Start | Cancel

encode = msgspec.msgpack.Encoder().encode
decode_work = msgspec.msgpack.Decoder(Work).decode
decode_report = msgspec.msgpack.Decoder(Report).decode
decode_control = msgspec.msgpack.Decoder(Control).decode


def job_of(seq: int, lease: Lease) -> Job:
    """Return the job of a lease, with the number by which the child reports it."""
    return Job(seq, lease.delivery.body, lease.attempt, lease.fence, lease.lost)


def frame(value: Struct) -> bytes:
    """Return the frame of a value."""
    data = encode(value)
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Splits the bytes of a pipe into frames."""

    __slots__ = ("_bytes", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._bytes = bytearray()

    def read(self) -> list[bytes] | None:
        """Read once, waiting if the pipe is blocking; return the frames that are now complete, None at the pipe's end.

        Raises ValueError for bytes that are no frame, and OSError as `os.read` does.
        """
        chunk = os.read(self.fd, _CHUNK)
        if not chunk:
            return None
        self._bytes += chunk
        return self._complete()

    def _complete(self) -> list[bytes]:
        data, at, frames = self._bytes, 0, []
        while len(data) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, at)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes, {MAX_FRAME} at most: another process wrote into the pipe")
            end = at + _LENGTH.size + length
            if end > len(data):
                break
            frames.append(bytes(data[at + _LENGTH.size : end]))
            at = end
        del data[:at]
        return frames


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes, waiting while the pipe is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]

"""What travels between a worker and its children: three pipes of frames, and a socket of tokens.

A frame is four bytes of length and a MessagePack value. *Tokens* are why a worker can take work back safely: for
each job the worker sends one eight-byte number into a socket whose far end both sides may read. Whoever reads a
token owns the job: the child begins it, the worker has taken it back. The kernel gives each token to one reader
only, so no lock can be left held by a process that was killed, stopped, or keeps its interpreter busy for minutes.
A socket and not a pipe, because the worker must read without waiting (MSG_DONTWAIT) where the child waits.
"""

from __future__ import annotations

import os
import struct

import msgspec
from msgspec import Struct

from yadtq_core.model import Error, Lease
from yadtq_core.settings import Settings

TOKEN = struct.Struct("<Q")
"""One token. Every read and write is a whole number of them, so none is ever torn."""
_LENGTH = struct.Struct("<I")
_CHUNK = 256 * 1024
MAX_FRAME = 256 * 1024 * 1024
"""Bytes; far above a full window of the largest arguments."""


class Job(Struct, frozen=True, gc=False, array_like=True):
    """One run that a child has to make: the body of the message as it came, and what the lease adds to it."""

    seq: int
    body: bytes
    attempt: int
    fence: int
    lost: int = 0


class Work(Struct, frozen=True, gc=False, array_like=True):
    """Worker to child: jobs to come, and numbers of jobs whose tokens the worker has taken back."""

    jobs: list[Job]
    forget: list[int]


class Done(Struct, frozen=True, gc=False, array_like=True, tag=0):
    """Child to worker: a run has ended. `retry_in`: seconds until the run that follows, None if none does."""

    seq: int
    status: str
    result: bytes | None
    content_type: str
    error: Error | None
    retry_in: float | None
    duration: float


class Progress(Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Child to worker: a run says how far it is."""

    seq: int
    text: str


class Ready(Struct, frozen=True, array_like=True, tag=2):
    """Child to worker: it can run these tasks; or it cannot start, and why. `warnings`: what it goes on without."""

    tasks: list[str]
    problem: str
    warnings: list[str] = []


class Start(Struct, frozen=True, array_like=True, tag=0):
    """Worker to child, first on the control pipe: what it is to be."""

    worker_id: str
    threads: int
    imports: list[str]
    settings: Settings
    lenient: bool = False
    """Go on without plugins and tasks that cannot be loaded."""


class Cancel(Struct, frozen=True, array_like=True, tag=1):
    """Worker to child: somebody asked to cancel this run."""

    seq: int


Report = Done | Progress | Ready
Control = Start | Cancel

encode = msgspec.msgpack.Encoder().encode
decode_work = msgspec.msgpack.Decoder(Work).decode
decode_report = msgspec.msgpack.Decoder(Report).decode
decode_control = msgspec.msgpack.Decoder(Control).decode


def job_of(seq: int, lease: Lease) -> Job:
    """Return the job of a lease, with the number by which the child reports it."""
    return Job(seq, lease.delivery.body, lease.attempt, lease.fence, lease.lost)


def frame(value: Struct) -> bytes:
    """Return a value with its length in front."""
    data = encode(value)
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Puts frames together again from the bytes of a pipe."""

    __slots__ = ("_bytes", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._bytes = bytearray()

    def read(self) -> list[bytes] | None:
        """Read once (waits if the pipe does); return the frames now complete, None at the pipe's end.

        Raises ValueError for what is no frame of ours, OSError as `os.read` does.
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
                raise ValueError(f"a frame of {length} bytes: somebody else wrote into the pipe")
            end = at + _LENGTH.size + length
            if end > len(data):
                break
            frames.append(bytes(data[at + _LENGTH.size : end]))
            at = end
        del data[:at]
        return frames


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, waiting where the pipe is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]

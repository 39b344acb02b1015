"""One child as its worker sees it: the process, its pipes, and the jobs that it has not reported yet."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack

import msgspec
from msgspec import Struct

from yadtq_core.child.pipe import TOKEN, Cancel, Frames, Report, Start, Work, decode_report, frame, job_of
from yadtq_core.child.stop_signals import STOP_SIGNALS
from yadtq_core.model import Lease
from yadtq_core.worker.rules.budget import size_of_delivery

_F_SETPIPE_SZ = 1031  # Linux; `fcntl` has no such name on macOS, where the call fails and the default stays
_PIPE_BYTES = 1024 * 1024
"""Room for results while completion waits for the backend. Linux grants it; other systems keep their default."""
_TOKEN_BUFFER = 1024 * 1024
"""A token sent alone takes up 800 bytes of it, and `give` must never wait until a child reads one."""
_KILL_SECONDS = 2.0


class SentJob(Struct, frozen=True, gc=False):
    """A job that was sent to a child and is not reported yet; `at` is when it was sent (local monotonic seconds)."""

    seq: int
    lease: Lease
    at: float


class ChildProcess:
    """A child process. Its methods are called under the executor's lock, except `read`."""

    def __init__(self, number: int, start: Start) -> None:
        """Start the process. Call it from the worker's main thread: a child dies with the thread that started it."""
        self.number = number
        self.threads = start.threads
        self.ready = False
        self.tasks: frozenset[str] = frozenset()
        """Names of the tasks that it can run, once it is ready."""
        self.ended = False
        self.started_at = time.monotonic()
        self.jobs: dict[int, SentJob] = {}
        """The jobs that it has not reported yet, by their numbers, oldest first."""
        self._forget: list[int] = []
        self._unsent: deque[memoryview] = deque()
        with ExitStack() as undo:
            control, self._control = _pipe(undo)
            work, self.work = _pipe(undo)
            self.reports, reports = _pipe(undo)
            self._tokens, self._begun = map(undo.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
            self._tokens.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _TOKEN_BUFFER)
            _widen(self.reports, self.work)
            os.set_blocking(self.work, False)
            self.process = _spawned((control, work, self._begun.fileno(), reports))
            undo.pop_all()
        for fd in (control, work, reports):
            os.close(fd)
        self._frames = Frames(self.reports)
        self._tell(start)
        os.set_blocking(self._control, False)  # a child that reads nothing must not block `cancel`

    @property
    def backlogged(self) -> bool:
        """True when frames wait because the pipe is full."""
        return bool(self._unsent)

    @property
    def bytes(self) -> int:
        """How much its jobs hold here, with the copies that wait because the pipe is full."""
        jobs = sum(size_of_delivery(entry.lease.delivery) for entry in self.jobs.values())
        return jobs + sum(map(len, self._unsent))

    @property
    def free(self) -> int:
        """How many more jobs would start at once."""
        return max(0, self.threads - len(self.jobs)) if self.ready and not self.ended else 0

    def give(self, jobs: Sequence[SentJob]) -> None:
        """Send jobs, and the tokens that let them start."""
        for entry in jobs:
            self.jobs[entry.seq] = entry
        work = Work([job_of(entry.seq, entry.lease) for entry in jobs], self._forget)
        self._unsent.append(memoryview(frame(work)))
        self._forget = []
        self.flush()
        try:
            self._tokens.sendall(b"".join([TOKEN.pack(entry.seq) for entry in jobs]))
        except OSError:
            pass  # it has died: its reports end, and the executor then requeues its jobs

    def flush(self) -> None:
        """Write as much as the work pipe takes now."""
        try:
            while self._unsent:
                written = os.write(self.work, self._unsent[0])
                if written == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = self._unsent[0][written:]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # it has died

    def take_back(self, most: int) -> list[SentJob]:
        """Take back up to `most` jobs that have not started; they never will."""
        taken: list[SentJob] = []
        if most < 1:
            return taken
        try:
            data = self._begun.recv(TOKEN.size * most, socket.MSG_DONTWAIT)
        except OSError:
            return taken
        for (seq,) in TOKEN.iter_unpack(data):
            if entry := self.jobs.pop(seq, None):
                taken.append(entry)
                self._forget.append(seq)
        return taken

    def cancel(self, seq: int) -> None:
        """Deliver a request to cancel to a running job."""
        self._tell(Cancel(seq))

    def _tell(self, word: Start | Cancel) -> None:
        try:
            os.write(self._control, frame(word))
        except OSError:
            pass  # it has died, or its pipe is full; each extension of the lease repeats a cancel

    def read(self) -> list[Report] | None:
        """Read its reports once; return None when it has died. A garbled report counts as its death."""
        try:
            frames = self._frames.read()
            return None if frames is None else [decode_report(data) for data in frames]
        except (OSError, ValueError, msgspec.MsgspecError):
            return None

    def let_go(self) -> None:
        """Let it exit: it gets no more jobs."""
        self._tokens.close()
        self._begun.close()

    def kill(self) -> None:
        """Kill it and all processes of its group, those that its tasks have started included."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def reap(self, timeout: float) -> int:
        """Wait for its exit, kill the rest of its group, close the pipes; return the exit status."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._killed()
        self.kill()
        self.ended = True
        self._unsent.clear()  # or a late `flush` would write into another file that has got the pipe's number
        for fd in (self._control, self.work, self.reports):
            os.close(fd)
        self._tokens.close()
        self._begun.close()
        return status

    def _killed(self) -> int:
        """Return its exit status after SIGKILL, without waiting for a process that hangs in the kernel."""
        try:
            return self.process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL


def cause_of_death(status: int) -> str:
    """Return in words how a process ended: `child killed by signal 9 (SIGKILL; out of memory?)`."""
    if status >= 0:
        return f"child exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "?"
    hint = "; out of memory?" if name == "SIGKILL" else ""
    return f"child killed by signal {-status} ({name}{hint})"


def _pipe(undo: ExitStack) -> tuple[int, int]:
    """Return a pipe that `undo` closes: each failed start of a child must free its file descriptors."""
    ends = os.pipe()
    for fd in ends:
        undo.callback(os.close, fd)
    return ends


def _spawned(inherited: tuple[int, ...]) -> subprocess.Popen[bytes]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "yadtq_core.child", *map(str, inherited), str(os.getpid())],
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # only the worker must receive a terminal's Ctrl-C: it then drains
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _widen(*fds: int) -> None:
    for fd in fds:
        try:
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            pass  # over the user's limit of pipe memory: smaller pipes work too

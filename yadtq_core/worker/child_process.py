"""One child as its worker sees it: the process, its pipes, and the jobs it was given and has not reported."""

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

from yadtq_core.child.pipe import TOKEN, Cancel, Frames, Report, Start, Work, decode_report, frame, job_of
from yadtq_core.worker.values import Given

_F_SETPIPE_SZ = 1031  # Linux; `fcntl` has no such name on macOS, where the call fails and the default stays
_PIPE_BYTES = 1024 * 1024
"""Room for results while completion waits for the backend; Linux grants it, elsewhere the default stays."""
_TOKEN_BUFFER = 1024 * 1024
"""Bytes; a token in a packet of its own takes up 800 of them, and no `give` may ever wait for a child to read one."""
_KILL_SECONDS = 2.0


class ChildProcess:
    """A child process. Its methods are called under the executor's lock, except `read`."""

    def __init__(self, number: int, start: Start) -> None:
        """Start it; must be called from the worker's main thread (see `child.die_with`)."""
        self.number = number
        self.threads = start.threads
        self.ready = False
        self.ended = False
        self.started_at = time.monotonic()
        self.given: dict[int, Given] = {}
        """Jobs not yet reported, by number, oldest first."""
        self._forget: list[int] = []
        self._unsent: deque[memoryview] = deque()
        with ExitStack() as undo:
            control, self._control = _pipe(undo)
            work, self._work = _pipe(undo)
            self.reports, reports = _pipe(undo)
            self._tokens, self._begun = map(undo.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
            self._tokens.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _TOKEN_BUFFER)
            _widen(self.reports, self._work)
            os.set_blocking(self._work, False)
            self.process = _spawned((control, work, self._begun.fileno(), reports))
            undo.pop_all()
        for fd in (control, work, reports):
            os.close(fd)
        self._frames = Frames(self.reports)
        self._tell(start)
        os.set_blocking(self._control, False)  # one that hears nothing for hours must not stop who cancels

    @property
    def work_fd(self) -> int:
        """The pipe that `flush` writes to, to be waited for where `backlogged`."""
        return self._work

    @property
    def backlogged(self) -> bool:
        """Frames wait until the pipe takes more."""
        return bool(self._unsent)

    @property
    def free(self) -> int:
        """How many more jobs would begin at once."""
        return max(0, self.threads - len(self.given)) if self.ready and not self.ended else 0

    def give(self, given: Sequence[Given]) -> None:
        """Send the jobs of these leases, and the tokens with which they may begin."""
        for entry in given:
            self.given[entry.seq] = entry
        jobs = [job_of(entry.seq, entry.lease) for entry in given]
        self._unsent.append(memoryview(frame(Work(jobs, self._forget))))
        self._forget = []
        self.flush()
        try:
            self._tokens.sendall(b"".join([TOKEN.pack(entry.seq) for entry in given]))
        except OSError:
            pass  # it has died: the end of its reports says so, and what it held is handed back then

    def flush(self) -> None:
        """Write what the work pipe takes now."""
        try:
            while self._unsent:
                written = os.write(self._work, self._unsent[0])
                if written == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = self._unsent[0][written:]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # it has died

    def take_back(self, most: int) -> list[Given]:
        """Take back up to `most` jobs that it has not begun; they will not begin."""
        taken: list[Given] = []
        if most < 1:
            return taken
        try:
            data = self._begun.recv(TOKEN.size * most, socket.MSG_DONTWAIT)
        except OSError:
            return taken
        for (seq,) in TOKEN.iter_unpack(data):
            if entry := self.given.pop(seq, None):
                taken.append(entry)
                self._forget.append(seq)
        return taken

    def cancel(self, seq: int) -> None:
        """Tell a running job that somebody asked to cancel it."""
        self._tell(Cancel(seq))

    def _tell(self, word: Start | Cancel) -> None:
        try:
            os.write(self._control, frame(word))
        except OSError:
            pass  # it has died, or hears nothing; a cancel is told again with every extension

    def read(self) -> list[Report] | None:
        """Read once what it reported; None when it has died. A garbled report counts as its death."""
        try:
            frames = self._frames.read()
            return None if frames is None else [decode_report(data) for data in frames]
        except (OSError, ValueError, msgspec.MsgspecError):
            return None

    def let_go(self) -> None:
        """Let it end by itself: there will be no more jobs."""
        self._tokens.close()
        self._begun.close()

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """End it and whatever its tasks started in its process group."""
        try:
            os.killpg(self.process.pid, sig)
        except (ProcessLookupError, PermissionError):
            pass

    def reap(self, timeout: float) -> int:
        """Wait for its end, kill what is left of its group, close the pipes; return the exit status."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._killed()
        self.kill()
        self.ended = True
        self._unsent.clear()  # or a late `flush` would write into whatever has the pipe's number next
        for fd in (self._control, self._work, self.reports):
            os.close(fd)
        self._tokens.close()
        self._begun.close()
        return status

    def _killed(self) -> int:
        """Return its exit status after SIGKILL; one that hangs in the kernel is left to it."""
        try:
            return self.process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL


def cause_of_death(status: int) -> str:
    """Return how a process ended, in words: `child killed by signal 9 (SIGKILL; out of memory?)`."""
    if status >= 0:
        return f"child exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "?"
    hint = "; out of memory?" if name == "SIGKILL" else ""
    return f"child killed by signal {-status} ({name}{hint})"


def _pipe(undo: ExitStack) -> tuple[int, int]:
    """Return a pipe that `undo` closes: where there is no memory for a child, trying again must not use up the fds."""
    ends = os.pipe()
    for fd in ends:
        undo.callback(os.close, fd)
    return ends


def _spawned(inherited: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "yadtq_core.child", *map(str, inherited), str(os.getpid())],
        pass_fds=inherited,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a terminal's Ctrl-C is for the worker alone, which then drains
    )


def _widen(*fds: int) -> None:
    for fd in fds:
        try:
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            pass  # over the user's share of pipe memory: smaller pipes work too

"""One server process of the local stack: started, waited for, stopped, and never left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

from yadtq_core.errors import LocalStackError

_GUARD = Path(__file__).with_name("guard.py")
_POLL_SECONDS = 0.02  # between two looks whether a server answers or has ended
_STOP_SECONDS = 10.0  # from SIGTERM to SIGKILL: a Kafka with little data needs 0.5 s, a Valkey less
_LOG_TAIL_LINES = 10

Report = Callable[[str], None]
"""Told, a line at a time, what a person who waits should know."""


def silent(line: str) -> None:
    """The report of those who need none."""


class LocalServer(ABC):
    """A server with its data in one folder; a context manager that starts and stops it.

    `folder` is made where missing (mode 0700) and kept at the end; one server at a time may use it. `report`
    is told what takes long.
    """

    name: ClassVar[str]
    start_seconds: ClassVar[float]

    def __init__(self, folder: Path, *, report: Report = silent) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "server.log"
        self._report = report
        self._guard: subprocess.Popen[str] | None = None
        self._pid: int | None = None
        self._log_start = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for a client; known once the server has been started."""

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Write what the server reads, before every start; return the command that runs it."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether the server answers requests."""

    @property
    def pid(self) -> int:
        """The server's process id, for other signals. Raises `LocalStackError` where it does not run."""
        if self._pid is None:
            raise LocalStackError(f"{self.name} is not running")
        return self._pid

    @property
    def running(self) -> bool:
        """Whether the process is there; a stopped (SIGSTOP) one is."""
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> None:
        """Start the server and return when it answers; nothing happens where it runs already.

        Raises `LocalStackError` with the end of the server's log where it ends or does not answer within
        `start_seconds`, and where what it needs is not installed.
        """
        if self.running:
            return
        self._settle()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked_folder() as lock:
            self._launch(self._prepare(), lock)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the server in order: SIGTERM, and SIGKILL where it has not ended 10 s later. Idempotent."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a paused server could not end in order
        if not self._ended_within(_STOP_SECONDS):
            self._signal(signal.SIGKILL)
        self._settle()

    def kill(self) -> None:
        """End the server at once, as a crash would (SIGKILL); its data stay. Idempotent."""
        self._signal(signal.SIGKILL)
        self._settle()

    def await_folder(self, seconds: float) -> None:
        """Return once no server uses the folder, or `seconds` later: one whose parent was killed is on its way out."""
        until = time.monotonic() + seconds
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while time.monotonic() < until:
            try:
                self._locked_folder().close()
            except LocalStackError:
                time.sleep(_POLL_SECONDS)
            else:
                return

    def restart(self) -> None:
        """Stop the server where it runs, and start it with the same address and the same data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _locked_folder(self) -> IO[bytes]:
        """Return a lock on the folder; the server inherits it and holds it until its own end."""
        lock = (self.folder / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise LocalStackError(f"Another {self.name} uses {self.folder}: stop it, or use another folder.") from None
        return lock

    def _launch(self, command: list[str], lock: IO[bytes]) -> None:
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C in the terminal reaches the parent, which ends its servers in
            # order.
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), *command],
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],
                text=True,
            )
        assert guard.stdout is not None
        self._guard = guard
        with guard.stdout as answer:
            said = answer.readline().strip()
        if not said.isdigit():
            self._settle()
            raise LocalStackError(f"{self.name} could not be run.\n{self._log_tail()}")
        self._pid = int(said)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while not self._answers():
            if not self.running:
                raise LocalStackError(f"{self.name} ended while it started.\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise LocalStackError(
                    f"{self.name} did not answer within {self.start_seconds:g} s.\n{self._log_tail()}"
                )
            time.sleep(_POLL_SECONDS)

    def _signal(self, number: int) -> None:
        if self.running and self._pid is not None:
            with suppress(ProcessLookupError):  # it may have ended since
                os.kill(self._pid, number)

    def _ended_within(self, seconds: float) -> bool:
        if self._guard is None:
            return True
        try:
            self._guard.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _settle(self) -> None:
        """Take leave of a process that has ended or was told to."""
        guard, self._guard, self._pid = self._guard, None, None
        if guard is not None:
            guard.wait()
            assert guard.stdin is not None
            guard.stdin.close()

    def _log_tail(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        said = [line for line in lines if line.strip()]
        return "\n".join([f"The end of {self.log}:", *said[-_LOG_TAIL_LINES:]])

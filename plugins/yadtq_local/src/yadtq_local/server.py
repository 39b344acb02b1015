"""One server process of the local stack: start, wait, stop. It never outlives the process that started it."""

from __future__ import annotations

import fcntl
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

from yadtq_core.errors import LocalStackError
from yadtq_local.guarded import GuardedProcess

_POLL_SECONDS = 0.02  # between two checks of whether a server answers or has ended
_STOP_SECONDS = 10.0  # from SIGTERM to SIGKILL; a Kafka with little data needs 0.5 s, a Valkey less
_LOG_TAIL_LINES = 10

Report = Callable[[str], None]
"""Gets lines of progress, for a person who waits."""


def silent(line: str) -> None:
    """Report nothing."""


class LocalServer(ABC):
    """A server with its data in one folder; a context manager that starts and stops it.

    folder: created with mode 0700 if missing, and kept at the end; one server at a time can use it. report: gets lines
    about slow steps.
    """

    name: ClassVar[str]
    start_seconds: ClassVar[float]

    def __init__(self, folder: Path, *, report: Report = silent) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "server.log"
        self._report = report
        self._process: GuardedProcess | None = None
        self._log_start = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for clients, known after the first start."""

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Write the server's configuration before each start, and return the command that runs it."""

    @abstractmethod
    def _answers(self) -> bool:
        """True when the server answers requests."""

    @property
    def pid(self) -> int:
        """The server's process ID, to send other signals. Raises LocalStackError if it does not run."""
        if self._process is None:
            raise LocalStackError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """True while the process exists, even if SIGSTOP has stopped it."""
        return self._process is not None and self._process.exit_code is None

    def start(self) -> None:
        """Start the server if it does not run, and return when it answers.

        Raises LocalStackError if a package is missing, and with the end of the server's log if the server ends or does
        not answer within `start_seconds`.
        """
        if self.running:
            return
        self._forget()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked_folder() as lock:
            self._launch(self._prepare(), lock)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if the server has not ended 10 s later. Idempotent."""
        if self._process is not None:
            self._process.terminate()
            self._process.send(signal.SIGCONT)  # a process stopped by SIGSTOP does not handle SIGTERM
            if not self._process.wait(_STOP_SECONDS):
                self._process.kill()
        self._forget()

    def kill(self) -> None:
        """Send SIGKILL, as a crash. The data stay. Idempotent."""
        if self._process is not None:
            self._process.kill()
        self._forget()

    def await_folder(self, seconds: float) -> None:
        """Wait until no server uses the folder, `seconds` at most: a server of a killed stack may still be ending."""
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
        """Stop the server if it runs, and start it with the same address and data."""
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
        """Return a lock on the folder. The server inherits it and holds it until its end."""
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
            try:
                self._process = GuardedProcess(command, folder=self.folder, log=log, keep=[lock.fileno()])
            except OSError:
                raise LocalStackError(f"{self.name} could not be run.\n{self._log_tail()}") from None

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

    def _forget(self) -> None:
        """Wait for the end of the process and forget it."""
        process, self._process = self._process, None
        if process is not None:
            process.wait()

    def _log_tail(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        filled = [line for line in lines if line.strip()]
        return "\n".join([f"The end of {self.log}:", *filled[-_LOG_TAIL_LINES:]])

"""Workers and clients of the fault runs: each a process in a separate group, with its log in a file.

python -m verification.faults.processes PARENT COMMAND…: becomes that command, and dies with its parent
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class Process:
    """One process, in a new session; on Linux it dies with the thread that started it, the harness's first."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        python: str = sys.executable,
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [python, "-m", __name__, str(os.getpid()), python, *command],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def log(self) -> str:
        """Return its log."""
        return self._log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to the process itself."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def signal_all(self, number: int) -> None:
        """Send a signal to the process and its children, the children last."""
        children = self.children()
        self.signal(number)
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait(10)

    def terminate(self, timeout: float) -> int:
        """Ask it to end; return its exit code."""
        self._process.terminate()
        return self._process.wait(timeout)

    def wait(self, timeout: float) -> int:
        """Return its exit code; raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout)

    def children(self) -> list[int]:
        """The process IDs of its children."""
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            return []

    def end(self) -> None:
        """Leave nothing of it behind."""
        for pid in self._all():
            for number in (signal.SIGCONT, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        self._process.wait(10)

    def _all(self) -> Iterator[int]:
        if self.exit_code is None:
            yield from self.children()
            yield self.pid


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies (on Linux): more exactly, the thread that started it.

    It stays in force when the process becomes another program, so the harness needs no `preexec_fn`, which may hang in
    a program with threads. The children of a worker of yadtq die with it by themselves.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("its parent is gone")


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])

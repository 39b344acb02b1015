"""A process under `guard.py`: it ends when this process ends, even by SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_GUARD = Path(__file__).with_name("guard.py")


class GuardedProcess:
    """One running command and its guard.

    folder: its working directory. environment: all its variables; None: those of this process. log: gets its output.
    keep: descriptors that it inherits. Raises OSError if the command cannot be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        log: IO[bytes] | None = None,
        keep: Sequence[int] = (),
    ) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # ctrl-C in the terminal reaches this process only, which ends the command in order
            pass_fds=keep,
            text=True,
        )
        assert self._guard.stdout is not None
        with self._guard.stdout as answer:
            first = answer.readline().strip()
        if not first.isdigit():
            self.wait()
            raise OSError(f"{command[0]} cannot be run")
        self.pid = int(first)

    @property
    def exit_code(self) -> int | None:
        """The exit code of the command; None while it runs."""
        return self._guard.poll()

    def send(self, number: int) -> None:
        """Send a signal to the command if it runs."""
        if self.exit_code is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # it has ended since

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, `timeout` seconds at most. True when the command has ended."""
        try:
            self._guard.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        return True

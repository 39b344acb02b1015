"""Workers as processes of a local stack: each a `yadtq worker` that ends with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_GUARD = Path(__file__).with_name("guard.py")


class LocalWorker:
    """One `yadtq worker` process under a guard, so that even kill -9 of the process that started it ends it.

    arguments: what follows `yadtq worker`. environment: variables added to ours. log: where it logs; default: our
    own stderr.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, log: IO[bytes] | None = None
    ) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), sys.executable, "-m", "yadtq_core.cli", "worker", *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # a terminal's ctrl-C is for us, who then end it in order
            text=True,
        )
        assert self._guard.stdout is not None
        with self._guard.stdout as told:
            self.pid = int(told.readline())

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._guard.poll()

    def terminate(self) -> None:
        """Ask it to drain and end; a second time: to end at once."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._signal(signal.SIGKILL)

    def wait(self, timeout: float) -> bool:
        """Return whether it has ended within `timeout` seconds."""
        try:
            self._guard.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        return True

    def _signal(self, number: int) -> None:
        if self._guard.poll() is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # it has ended since


def end_all(workers: Sequence[LocalWorker], grace: float) -> None:
    """End workers in order, and those that have not ended after `grace` seconds at once."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        if not worker.wait(grace):
            worker.kill()
            worker.wait(grace)

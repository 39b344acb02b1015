"""The signals that drain a worker, in a child: its runs go on, and it knows which of them were interrupted.

A service manager may send a stop signal to all processes of a worker at once. It then ends processes that a task has
started, and the task raises: such a run was interrupted, and has not failed.
"""

from __future__ import annotations

import math
import os
import signal
import time

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""A child starts with them blocked, so that none can end it before it has a handler."""


class StopSignals:
    """Handles the stop signals of this process by doing nothing, and knows when the last one came.

    They are not ignored (SIG_IGN): a program that a task starts would ignore them too, and could not be terminated.
    """

    def __init__(self) -> None:
        """Install the handlers and unblock the signals. Only the main thread may call it."""
        self._came_at = -math.inf
        self._tripped, woken = os.pipe()
        for fd in (self._tripped, woken):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._came) for number in STOP_SIGNALS}
        _unblock()
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=self._forked)

    def came_since(self, begun: float) -> bool:
        """True if a stop signal came at or after `begun`, in seconds of `time.perf_counter`.

        Python calls a handler in the main thread, which may be late. Until then the signal is pending, or its byte is
        in the pipe.
        """
        return self._came_at >= begun or bool(signal.sigpending().intersection(STOP_SIGNALS)) or self._in_pipe()

    def _came(self, *_: object) -> None:
        self._came_at = time.perf_counter()
        self._in_pipe()

    def _in_pipe(self) -> bool:
        try:
            return bool(os.read(self._tripped, 512))
        except BlockingIOError:
            return False

    def _forked(self) -> None:
        """Let a process that a task has forked end by signals: its parent may terminate it, as multiprocessing does.

        The signals are blocked during the fork, or one that is sent at once would be lost.
        """
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        _unblock()


def _block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

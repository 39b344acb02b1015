"""The lock under which registries import modules of tasks. A fork of the process waits for it.

Without that, a process forked while another thread imports would inherit a module that is half imported, with this lock
and Python's lock of the module, and no thread that ever releases them.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

FORK_SECONDS = 10.0
"""How long a fork waits for an import. The import may itself wait for a thread that forks."""


class ImportLock:
    """A reentrant lock that can be taken in a forked process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._fork = threading.local()
        os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()

    def _before(self) -> None:
        self._fork.holds = self._lock.acquire(timeout=FORK_SECONDS)

    def _in_parent(self) -> None:
        if self._fork.holds:
            self._lock.release()

    def _in_child(self) -> None:
        if self._fork.holds:
            self._lock.release()
        else:  # its owner is a thread that this process does not have
            self._lock = threading.RLock()


IMPORTING = ImportLock()
"""One for all registries: what Python imports belongs to the process."""

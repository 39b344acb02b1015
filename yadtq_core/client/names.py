"""Warns of submitted task names that no online worker has loaded: a misspelt name would wait in silence."""

from __future__ import annotations

import logging
import threading

from yadtq_core.client.fleet import Fleet, did_you_mean

log = logging.getLogger("yadtq.client")

MOST = 1000
"""Names checked by one client: a program that submits names from outside must not fill its memory with them."""
AGAIN = 60.0
"""Seconds until the next look at the workers while none is online."""
FRESH = 1.0
"""A look at the workers that is younger than this many seconds also serves for other names."""
CLOSE_SECONDS = 0.5
"""The longest time for which closing a client waits for a look, so that a short program has its warning too."""


class NameCheck:
    """Checks each name once, in a thread that lives as long as names wait for a worker to be online."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._changed = threading.Condition()
        self._seen: set[str] = set()
        self._pending: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, name: str) -> None:
        """Check the name of a task that this process does not know. Returns at once and never raises."""
        with self._changed:
            if self._closed or name in self._seen or len(self._seen) >= MOST:
                return
            self._seen.add(name)
            self._pending.add(name)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="yadtq-names", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread; a look that is under way may take CLOSE_SECONDS more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                names = set(self._pending)
            checked = self._check(names)
            with self._changed:
                if checked:
                    self._pending -= names
                elif not self._closed:
                    self._changed.wait(AGAIN)
                if self._closed or not self._pending:
                    self._thread = None
                    return

    def _check(self, names: set[str]) -> bool:
        """Warn of the names that no worker has loaded. False if no worker has reported its tasks yet."""
        known = {task for row in self._fleet.online(FRESH) or () for task in row.stats.tasks}
        if not known:
            return False
        for name in sorted(names - known):
            hint = did_you_mean(name, known)
            log.warning("task %r waits for a worker that has loaded it, and none online has%s", name, hint)
        return True

"""One worker: starts its threads and stops them in order."""

from __future__ import annotations

import logging
import threading
import time

from yadtq_core.worker.assembly import Assembly
from yadtq_core.worker.shared import ThreadLoop

log = logging.getLogger("yadtq.worker")

CLOSE_SECONDS = 4.0
"""How long `close` waits for the threads. It abandons a thread that still waits for a service: that starts no run."""


class Worker:
    """A worker whose services are open and whose children are ready.

    `crashed` is the exception that ended a thread, None while all of them are well.
    """

    def __init__(self, parts: Assembly) -> None:
        self._parts = parts
        self.crashed: BaseException | None = None
        self._crashed: set[str] = set()
        self._closed = False
        self._loops: dict[str, ThreadLoop] = {
            "intake": parts.intake_thread,
            "completion": parts.completion_thread,
            "keeper": parts.keeper_thread,
            "sweeper": parts.sweeper_thread,
        }
        self._threads = {name: self._thread(name, loop) for name, loop in self._loops.items()}

    def _thread(self, name: str, loop: ThreadLoop) -> threading.Thread:
        def guarded() -> None:
            try:
                loop.run()
            except BaseException as error:
                if self._closed:
                    return  # `close` has abandoned this thread, and its services are closed
                log.exception("the %s thread ended by a bug: this worker stops", name)
                self._crashed.add(name)
                self.crashed = error

        return threading.Thread(target=guarded, name=f"yadtq-{name}", daemon=True)

    def start(self) -> None:
        """Begin to work. The first heartbeat precedes the first claim."""
        self._parts.keeper_thread.beat("online")
        self._parts.sweeps.request()
        self._parts.events.worker_started()
        for thread in self._threads.values():
            thread.start()

    def slowest(self) -> tuple[str, float]:
        """Return the name of the thread whose loop has run for longest, and for how many seconds."""
        now = time.monotonic()
        alive = [name for name, thread in self._threads.items() if thread.is_alive()]
        since = {name: self._loops[name].looped_at or now for name in alive}
        name = min(alive, key=lambda name: since[name], default="")
        return name, now - since.get(name, now)

    def stop(self) -> None:
        """Start nothing new: leave the group, requeue the runs that have not begun. Others go on.

        Waits for at most one call of the backend.
        """
        self._parts.events.worker_stopping()
        self._parts.lifecycle.stopping.set()
        with self._parts.intake:
            self._parts.intake.notify()
        self._parts.executor.drain()
        self._parts.requeue.unstarted(self._parts.executor.take_back())

    @property
    def running(self) -> int:
        """How many runs the children hold."""
        return self._parts.executor.running

    @property
    def unwritten(self) -> int:
        """How many outcomes are not written yet."""
        return self._parts.completion.pending

    @property
    def all_done(self) -> bool:
        """True when nothing runs and every outcome is written, or when no thread is left to write them."""
        return "completion" in self._crashed or not (self.running or self.unwritten)

    def kill_runs(self) -> None:
        """Kill the children; the completion thread then requeues their runs, or `close` if that thread has crashed."""
        self._parts.executor.kill()

    def close(self) -> None:
        """Wait for the threads, report this worker as offline, end the children."""
        if "completion" in self._crashed:
            self._parts.requeue.stopped([*self._parts.executor.held(), *self._parts.completion.held()])
        until = time.monotonic() + CLOSE_SECONDS
        self._parts.sweeps.wake()
        self._threads["intake"].join(CLOSE_SECONDS)
        self._parts.lifecycle.finished.set()
        self._parts.executor.wake()
        for thread in self._threads.values():
            thread.join(max(0.3, until - time.monotonic()))
        self._closed = True
        self._parts.executor.close()
        self._parts.events.close(self._parts.keeper_thread.stats("offline"))

    @property
    def executed(self) -> int:
        """How many runs of this worker the backend has accepted."""
        return self._parts.completion.executed

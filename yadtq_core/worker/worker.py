"""One worker: wires the parts together, starts their threads, and stops them in order."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

from yadtq_core.model import ReleaseReason
from yadtq_core.worker.desk import Desk
from yadtq_core.worker.threads.completion import CompletionThread
from yadtq_core.worker.threads.intake import IntakeThread
from yadtq_core.worker.threads.keeper import KeeperThread
from yadtq_core.worker.threads.sweeper import SweeperThread

log = logging.getLogger("yadtq.worker")

CLOSE_SECONDS = 4.0
"""For the threads to end. One that still waits for a service then is left: it begins nothing and would only be late."""


class Worker:
    """A worker whose services are open and whose children are ready.

    `crashed` is the error of a thread that ended by a bug of ours, None while all is well.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._keeper = KeeperThread(self._desk)
        self.crashed: BaseException | None = None
        self._closed = False
        self._threads = {
            "intake": self._thread("intake", IntakeThread(self._desk).run),
            "completion": self._thread("completion", CompletionThread(self._desk).run),
            "keeper": self._thread("keeper", self._keeper.run),
            "sweeper": self._thread("sweeper", SweeperThread(self._desk).run),
        }

    def _thread(self, name: str, run: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                run()
            except BaseException as error:
                if self._closed:
                    return  # left behind by `close`, it found its services gone
                log.exception("the %s thread ended by a bug; the worker stops", name)
                self.crashed = error

        return threading.Thread(target=guarded, name=f"yadtq-{name}", daemon=True)

    def start(self) -> None:
        """Begin to work. The first heartbeat goes out before anything is claimed; then what its last life held is."""
        self._keeper.beat("online")
        self._desk.sweep_soon()
        self._desk.events.worker_started()
        for thread in self._threads.values():
            thread.start()

    def silent_for(self) -> tuple[str, float]:
        """Return (name, seconds) of the thread that has not come round for longest, for the watchdog."""
        now = time.monotonic()
        alive = {name: self._desk.alive.get(name, now) for name, thread in self._threads.items() if thread.is_alive()}
        name = min(alive, key=lambda name: alive[name], default="")
        return name, now - alive.get(name, now)

    def stop(self) -> None:
        """Begin nothing new: leave the group, give back what has not begun. Runs go on. Returns at once."""
        desk = self._desk
        desk.events.worker_stopping()
        desk.stopping.set()
        with desk.lock:
            desk.room.notify_all()
        desk.executor.drain()
        desk.release(desk.executor.take_back(), ReleaseReason.UNSTARTED)

    @property
    def idle(self) -> bool:
        """Nothing runs and every outcome is written."""
        return not self._desk.executor.running and not self._desk.completion.pending

    def hand_back(self) -> None:
        """End what still runs; the completion thread then gives it back to others."""
        self._desk.killed.set()
        self._desk.executor.kill()

    def close(self) -> None:
        """Wait for the threads, tell the backend that this worker is gone, end the children."""
        until = time.monotonic() + CLOSE_SECONDS
        self._desk.poke.set()
        self._threads["intake"].join(CLOSE_SECONDS)
        self._desk.finished.set()
        self._desk.executor.wake()
        for thread in self._threads.values():
            thread.join(max(0.3, until - time.monotonic()))
        self._closed = True
        self._desk.executor.close()
        self._desk.events.close(self._keeper.stats("offline"))

    @property
    def executed(self) -> int:
        """How many runs this worker ended."""
        return self._desk.executed


def host() -> str:
    """Return the name of this host."""
    return socket.gethostname()

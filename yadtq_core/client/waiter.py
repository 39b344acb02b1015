"""Wait for tasks to end: the backend pushes their IDs on one subscription, which all waiting callers share.

Callers only wait. Two threads speak to the backend, so that a caller is never held longer than its timeout. The asker
asks about each new ID, and again by `again.py`, because a push can be lost; it also reads the records of callers whose
time is up. The listener receives the pushes. The record of an ended task is fetched once, for all its callers.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TypeVar

from yadtq_core.client.again import Again
from yadtq_core.client.fleet import Fleet
from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend, Subscription
from yadtq_core.model import ENDED, Record, WorkerRow

PATIENCE = 30.0
"""Seconds of failed questions after which waiting callers get the backend's error."""
GRACE = 0.15
"""Seconds after a timeout for the last look at the record; after them the caller has its answer or error."""
BATCH = 200
_RETRY = 0.5
_LOOK = 1.0
"""Seconds of one wait for pushes; the thread notices `close` within this time."""

T = TypeVar("T")


class Wait:
    """One caller's wait for some IDs. `records` fills as the tasks end; None: the task has no record.

    answered: the backend has answered about one of the IDs, or all. workers: the online workers, if the last look found
    a task that has not ended.
    """

    __slots__ = ("answered", "error", "missing", "records", "wake", "workers")

    def __init__(self, ids: Iterable[str], wake: Callable[[], object]) -> None:
        self.missing = set(ids)
        self.records: dict[str, Record | None] = {}
        self.answered = False
        self.workers: Sequence[WorkerRow] | None = None
        self.error: YadtqError | None = None
        self.wake = wake


class Waiter:
    """One subscription, its listening thread and the asking thread; the first wait starts them."""

    def __init__(self, backend: Backend, fleet: Fleet) -> None:
        self._backend = backend
        self._fleet = fleet
        self._changed = threading.Condition()
        self._waits: dict[str, list[Wait]] = {}
        self._new: dict[str, None] = {}
        self._looks: list[Wait] = []
        self._again = Again()
        self._subscription: Subscription | None = None
        self._started = False
        self._closed = False

    def wait(self, ids: Sequence[str], until: float | None) -> Wait:
        """Return the wait when these tasks have ended, or at the time `until` (monotonic seconds; None: no limit).

        Raises BackendUnavailable if the backend cannot be reached; after a first answer only when it cannot be reached
        for PATIENCE seconds.
        """
        ended = threading.Event()
        wait = Wait(ids, ended.set)
        if _left(until) != 0.0:  # else only the last look is needed
            with self._entered(wait):
                ended.wait(_left(until))
        return _checked(wait)

    async def await_one(self, task_id: str, until: float | None) -> Wait:
        """Do the same as `wait` for one ID, without blocking the event loop."""
        ended, wake = _alarm()
        wait = Wait([task_id], wake)
        if _left(until) != 0.0:
            with self._entered(wait):
                await _ring(ended, _left(until))
        return _checked(wait)

    def look(self, task_id: str, until: float) -> Wait:
        """Return a wait with the record as it is, or without it if the backend has not answered by `until`.

        Raises the error with which the backend answered.
        """
        looked = threading.Event()
        wait = self._look(Wait([task_id], looked.set))
        looked.wait(_left(until))
        return _checked(wait)

    async def alook(self, task_id: str, until: float) -> Wait:
        """Do the same as `look` without blocking the event loop."""
        looked, wake = _alarm()
        wait = self._look(Wait([task_id], wake))
        await _ring(looked, _left(until))
        return _checked(wait)

    def close(self) -> None:
        """Raise an error in all waiting callers, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._fail(YadtqError("the client was closed while it was waiting for a task"))
        if self._subscription is not None:
            self._subscription.close()

    @contextmanager
    def _entered(self, wait: Wait) -> Iterator[None]:
        """Let the asker ask about the IDs of this wait, and forget it at the end of the block."""
        with self._changed:
            self._start()
            for task_id in wait.missing:
                self._waits.setdefault(task_id, []).append(wait)
                self._new[task_id] = None
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._withdraw(wait)

    def _withdraw(self, wait: Wait) -> None:
        given_up: list[str] = []
        for task_id in wait.missing:
            others = [other for other in self._waits.get(task_id, ()) if other is not wait]
            if others:
                self._waits[task_id] = others
            elif self._waits.pop(task_id, None):
                self._forget(task_id)
                given_up.append(task_id)
        if given_up and self._subscription is not None:  # under the lock, so that no new wait enters in between
            self._subscription.forget(given_up)

    def _forget(self, task_id: str) -> None:
        self._new.pop(task_id, None)
        self._again.drop(task_id)

    def _look(self, wait: Wait) -> Wait:
        with self._changed:
            self._start()
            self._looks.append(wait)
            self._changed.notify()
        return wait

    def _start(self) -> None:
        if self._closed:
            raise YadtqError("this client is closed")
        if not self._started:
            self._started = True
            threading.Thread(target=self._persist, args=(self._ask_some,), name="yadtq-asker", daemon=True).start()

    def _persist(self, step: Callable[[], object]) -> None:
        """Repeat a step until the client is closed. After PATIENCE seconds of errors, all waiting callers get one."""
        failing: float | None = None
        while not self._closed:
            try:
                step()
                failing = None
            except Exception as error:  # any error: if this thread ended, callers would wait without end
                now = time.monotonic()
                failing = failing or now
                if not self._closed and now - failing > PATIENCE:
                    self._fail(_as_ours(error))
                time.sleep(_RETRY)

    def _ask_some(self) -> None:
        """Take the last looks of callers, ask about new IDs, and about those that are due again: a batch of each."""
        looks, new, due = self._taken()
        try:
            self._take_looks(looks)
            self._ask(new)
        except Exception as error:
            self._refuse(looks, new, _as_ours(error))
            new = []
        try:
            self._ask(due)
        except Exception:
            self._ask_at_once(due)
            raise

    def _taken(self) -> tuple[list[Wait], list[str], list[str]]:
        """Return what is to be done, as soon as there is something."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                looks, self._looks = self._looks[:BATCH], self._looks[BATCH:]
                new = list(islice(self._new, BATCH))
                for task_id in new:
                    del self._new[task_id]
                due = self._again.due(now, BATCH)
                if looks or new or due:
                    return looks, new, due
                self._changed.wait(self._again.left(now))
        return [], [], []

    def _take_looks(self, looks: Sequence[Wait]) -> None:
        if not looks:
            return
        ids = [task_id for wait in looks for task_id in wait.missing]
        found = dict(zip(ids, self._backend.get(ids), strict=True))
        for wait in looks:
            wait.records = {task_id: found[task_id] for task_id in wait.missing}
            wait.answered = True
        if any(record is not None and record.status not in ENDED for record in found.values()):
            workers = self._fleet.online()
            for wait in looks:
                wait.workers = workers
        for wait in looks:
            wait.wake()

    def _ask(self, ids: Sequence[str]) -> None:
        """Ask the backend to push the ends of these tasks, and deliver those that have ended already."""
        if not ids:
            return
        ended = self._backend.watch(ids, self._listening().channel)
        now = time.monotonic()
        with self._changed:
            for task_id, over in zip(ids, ended, strict=True):
                for wait in self._waits.get(task_id, ()):
                    wait.answered = True
                if not over and task_id in self._waits:
                    self._again.add(task_id, now)
        self._fetch([task_id for task_id, over in zip(ids, ended, strict=True) if over])

    def _refuse(self, looks: Sequence[Wait], new: Sequence[str], error: YadtqError) -> None:
        """Give the error to callers that have had no answer yet; ask again for the others."""
        with self._changed:
            waits = [wait for task_id in new for wait in self._waits.get(task_id, ())]
            self._again.at_once(task_id for task_id in new if any(w.answered for w in self._waits.get(task_id, ())))
        for wait in {id(wait): wait for wait in (*looks, *waits) if not wait.answered}.values():
            wait.error = error
            wait.wake()

    def _listening(self) -> Subscription:
        """Return the subscription; open it and start the listening thread if necessary. For the asker alone."""
        if self._subscription is None:
            subscription = self._backend.subscribe()
            with self._changed:
                self._subscription = subscription
            if self._closed:
                subscription.close()
            threading.Thread(target=self._persist, args=(self._listen,), name="yadtq-waiter", daemon=True).start()
        return self._subscription

    def _listen(self) -> None:
        """Receive pushes once, and fetch the records of those that are waited for."""
        pushed = self._listening().wait(_LOOK)
        with self._changed:
            if pushed is None:
                self._again.at_once(self._waits)
                self._changed.notify()
            wanted = [task_id for task_id in pushed or () if task_id in self._waits]
        try:
            self._fetch(wanted)
        except Exception:
            self._ask_at_once(wanted)
            raise

    def _ask_at_once(self, ids: Iterable[str]) -> None:
        with self._changed:
            self._again.at_once(task_id for task_id in ids if task_id in self._waits)
            self._changed.notify()

    def _fetch(self, ids: Sequence[str]) -> None:
        """Fetch the records of ended tasks and deliver them to the waiting callers."""
        for batch in _batches(ids):
            for task_id, record in zip(batch, self._backend.get(batch), strict=True):
                if record is None or record.status in ENDED:
                    self._deliver(task_id, record)

    def _deliver(self, task_id: str, record: Record | None) -> None:
        with self._changed:
            waits = self._waits.pop(task_id, ())
            self._forget(task_id)
            for wait in waits:
                wait.missing.discard(task_id)
                wait.records[task_id] = record
        for wait in waits:
            if not wait.missing:
                wait.wake()

    def _fail(self, error: YadtqError) -> None:
        with self._changed:
            waits = {id(wait): wait for waiting in (*self._waits.values(), self._looks) for wait in waiting}
            for task_id in tuple(self._waits):
                self._forget(task_id)
            self._waits.clear()
        for wait in waits.values():
            wait.error = error
            wait.wake()


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def _alarm() -> tuple[asyncio.Event, Callable[[], None]]:
    """Return an event of this event loop, and a function that sets it from another thread."""
    loop = asyncio.get_running_loop()
    rung = asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop was closed, so no coroutine waits for this answer
            loop.call_soon_threadsafe(rung.set)

    return rung, wake


async def _ring(event: asyncio.Event, timeout: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await event.wait()


def _checked(wait: Wait) -> Wait:
    if wait.error is not None:
        raise wait.error
    return wait


def _as_ours(error: Exception) -> YadtqError:
    return error if isinstance(error, YadtqError) else YadtqError(f"waiting failed: {error!r:.200}")


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))

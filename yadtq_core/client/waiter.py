"""Wait for tasks to end: the backend pushes their IDs on one subscription, which all waiting callers share.

A push can be missed. So after a reconnect, and every few seconds, the waiter asks the backend about all IDs that are
still waited for. It fetches the record of an ended task once, for all callers that wait for it.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from yadtq_core.client.group_commit import Combiner, Finish
from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend, Subscription
from yadtq_core.model import ENDED, Record

ASK_AGAIN = 5.0
"""Seconds after which the waiter asks the backend about all IDs, with or without a push."""
PATIENCE = 30.0
"""Seconds without an answer of the backend after which waiting callers get its error."""
BATCH = 200
_RETRY = 0.5
_LOOK = 1.0
"""Seconds of one wait for pushes; the thread notices `close` within this time."""

_NEVER = -math.inf

T = TypeVar("T")


class Wait:
    """One caller's wait for some IDs. `records` fills as the tasks end; None: the task has no record."""

    __slots__ = ("error", "missing", "records", "wake")

    def __init__(self, ids: Iterable[str], wake: Callable[[], object]) -> None:
        self.missing = set(ids)
        self.records: dict[str, Record | None] = {}
        self.error: YadtqError | None = None
        self.wake = wake


class Waiter:
    """One subscription and its listening thread; the first wait starts both."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._waits: dict[str, list[Wait]] = {}
        self._subscription: Subscription | None = None
        self._closed = False
        self._asks: Combiner[str, None] = Combiner(self._begin_ask, most=BATCH, size=len, name="yadtq-asker")

    def wait(self, ids: Sequence[str], timeout: float | None) -> dict[str, Record | None]:
        """Return the records of the tasks that ended within `timeout` seconds (None: no limit).

        An ID without a record has None. Raises BackendUnavailable if the backend cannot be reached; after a first
        success only when it is unavailable for PATIENCE seconds.
        """
        ended = threading.Event()
        wait = Wait(ids, ended.set)
        self._enter(wait)
        try:
            if len(ids) == 1:
                self._asks.call(ids[0])
            else:
                self._ask(ids)
            ended.wait(timeout)
        finally:
            self._withdraw(wait)
        return _answer(wait)

    async def await_one(self, task_id: str, timeout: float | None) -> dict[str, Record | None]:
        """Do the same as `wait` for one ID, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed, so no coroutine waits for this answer
                loop.call_soon_threadsafe(ended.set)

        wait = Wait([task_id], wake)
        if self._subscription is None:
            await asyncio.to_thread(self._listening)
        self._enter(wait)
        try:
            async with asyncio.timeout(timeout):
                await self._asks.acall(task_id)
                await ended.wait()
        except TimeoutError:
            pass
        finally:
            self._withdraw(wait)
        return _answer(wait)

    def close(self) -> None:
        """Raise an error in all waiting callers, and end the thread."""
        with self._lock:
            self._closed = True
            subscription = self._subscription
        self._fail(YadtqError("the client was closed while it was waiting for a task"))
        self._asks.close()
        if subscription is not None:
            subscription.close()

    def _enter(self, wait: Wait) -> None:
        self._listening()
        with self._lock:
            for task_id in wait.missing:
                self._waits.setdefault(task_id, []).append(wait)

    def _withdraw(self, wait: Wait) -> None:
        with self._lock:
            for task_id in wait.missing:
                others = [other for other in self._waits.get(task_id, ()) if other is not wait]
                if others:
                    self._waits[task_id] = others
                else:
                    self._waits.pop(task_id, None)

    def _listening(self) -> Subscription:
        """Return the subscription; open it and start the listening thread if necessary."""
        with self._lock:
            if self._closed:
                raise YadtqError("this client is closed")
            if self._subscription is None:
                self._subscription = self._backend.subscribe()
                threading.Thread(target=self._listen, name="yadtq-waiter", daemon=True).start()
            return self._subscription

    def _begin_ask(self, ids: Sequence[str]) -> Finish[None]:
        self._ask(ids)
        return lambda: [None] * len(ids)

    def _ask(self, ids: Iterable[str]) -> None:
        """Ask the backend to push the ends of these tasks, and deliver those that have ended already."""
        channel = self._listening().channel
        for batch in _batches(ids):
            ended = self._backend.watch(batch, channel)
            self._fetch([task_id for task_id, over in zip(batch, ended, strict=True) if over])

    def _fetch(self, ids: Sequence[str]) -> None:
        """Fetch the records of ended tasks and deliver them to the waiting callers."""
        for batch in _batches(ids):
            for task_id, record in zip(batch, self._backend.get(batch), strict=True):
                if record is None or record.status in ENDED:
                    self._deliver(task_id, record)

    def _deliver(self, task_id: str, record: Record | None) -> None:
        with self._lock:
            waits = self._waits.pop(task_id, ())
            for wait in waits:
                wait.missing.discard(task_id)
                wait.records[task_id] = record
        for wait in waits:
            if not wait.missing:
                wait.wake()

    def _listen(self) -> None:
        """Serve pushes until the client is closed; repeat after errors, for at most PATIENCE seconds."""
        answered = asked = time.monotonic()
        while not self._closed:
            try:
                asked = self._serve(asked)
                answered = time.monotonic()
            except Exception as error:  # any error: if this thread ended, callers would wait without end
                if not self._closed and time.monotonic() - answered > PATIENCE:
                    self._fail(
                        error if isinstance(error, YadtqError) else YadtqError(f"waiting failed: {error!r:.200}")
                    )
                asked = _NEVER
                time.sleep(_RETRY)

    def _serve(self, asked: float) -> float:
        """Serve one round of pushes; return the time of the last question about all IDs (_NEVER: ask now)."""
        pushed = self._listening().wait(0.0 if asked == _NEVER else _LOOK)
        with self._lock:
            wanted = [task_id for task_id in pushed or () if task_id in self._waits]
        self._fetch(wanted)
        now = time.monotonic()
        if pushed is not None and now - asked < ASK_AGAIN:
            return asked
        with self._lock:
            waited_for = list(self._waits)
        self._ask(waited_for)
        return now

    def _fail(self, error: YadtqError) -> None:
        with self._lock:
            waits = {id(wait): wait for waiting in self._waits.values() for wait in waiting}
            self._waits.clear()
        for wait in waits.values():
            wait.error = error
            wait.wake()


def _answer(wait: Wait) -> dict[str, Record | None]:
    if wait.error is not None:
        raise wait.error
    return wait.records


def _batches(items: Iterable[T]) -> Iterable[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch

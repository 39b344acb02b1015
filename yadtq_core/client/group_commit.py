"""Group commit: calls of several threads and coroutines are executed in batches, by one of the callers.

The first caller becomes the leader: it takes all waiting items, executes them as one batch, and gives each caller its
answer. A single caller is served in its own thread, without another one. As soon as the leader has begun its batch, the
first waiting caller becomes the next leader: batches overlap, and no caller serves the others for long. Coroutines wait
in the same queue. If a coroutine is first, a thread leads in its place; it starts when it is first needed.

Callers answered in one batch usually submit again within microseconds. A leader waits that long for as many callers as
there were in the last batch. Otherwise two small batches would alternate, each at the cost of a large one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

GATHER = 0.002
"""Longest time in seconds that a leader waits for callers to submit again; it never waits for a single caller."""
_LOOK = 0.0001
BUDGET = 8 * 1024 * 1024
"""Bytes of one batch: it is one script call, which other clients of the server wait for. Callers beyond it wait for the
next batch, which begins as soon as this one has."""

Finish = Callable[[], Sequence["Answer | Exception"]]


class _Seat(Generic[Item, Answer]):
    """The place of one caller: its item, then its answer. `gate` opens when it is answered or becomes the leader."""

    __slots__ = ("answer", "future", "gate", "item", "leads", "loop")

    def __init__(
        self,
        item: Item,
        loop: asyncio.AbstractEventLoop | None = None,
        future: asyncio.Future[Answer] | None = None,
    ) -> None:
        self.item = item
        self.answer: Answer | Exception | None = None
        self.leads = False
        self.loop = loop
        self.future = future
        self.gate = threading.Lock()
        self.gate.acquire()

    def value(self) -> Answer:
        """Return the answer, or raise it if it is an exception."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # called only after there is an answer

    def settle(self) -> None:
        """Give a coroutine its answer. Runs on its event loop."""
        if self.future is None or self.future.done():
            return
        if isinstance(self.answer, Exception):
            self.future.set_exception(self.answer)
        else:
            self.future.set_result(self.answer)  # type: ignore[arg-type]


class Combiner(Generic[Item, Answer]):
    """Executes items in batches of at most `most`, and of at most BUDGET bytes unless one item alone is larger.

    begin: starts a batch and returns a function that finishes it, which returns an answer or an exception for each
        item, in order. Calls of `begin` never overlap, calls of the second function may. It must be idempotent: after a
        leader was interrupted (Ctrl-C), another leader executes the items of the other callers again.
    size: returns the bytes of an item.
    name: name of the thread that leads for coroutines.
    """

    def __init__(
        self,
        begin: Callable[[Sequence[Item]], Finish[Answer]],
        *,
        most: int,
        size: Callable[[Item], int],
        name: str,
    ) -> None:
        self._begin = begin
        self._most = most
        self._size = size
        self._name = name
        self._lock = threading.Lock()
        self._queue: deque[_Seat[Item, Answer]] = deque()
        self._led = False
        self._inside = 0
        self._expected = 1
        self._baton = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._closed = False

    def call(self, item: Item) -> Answer:
        """Return the answer of the item, or raise it. The calling thread may execute one batch for others before."""
        seat: _Seat[Item, Answer] = _Seat(item)
        try:
            if not self._join(seat):
                seat.gate.acquire()
            if seat.leads:
                self._lead(seat)
        except BaseException:
            self._leave(seat)
            raise
        return seat.value()

    async def acall(self, item: Item) -> Answer:
        """Return the answer of the item, or raise it, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        seat: _Seat[Item, Answer] = _Seat(item, loop, loop.create_future())
        if self._join(seat):
            self._pass_baton()
        assert seat.future is not None
        return await seat.future

    def close(self) -> None:
        """End the thread as soon as it has no batch to lead."""
        self._closed = True
        self._baton.release()

    def _join(self, seat: _Seat[Item, Answer]) -> bool:
        """Enter the queue. True when this caller becomes the leader because there is none."""
        with self._lock:
            self._queue.append(seat)
            self._inside += 1
            if self._led:
                return False
            self._led = seat.leads = True
            return True

    def _lead(self, leader: _Seat[Item, Answer]) -> None:
        """Execute the waiting items in one batch; pass the lead on as soon as the batch has begun."""
        self._gather()
        with self._lock:
            batch = self._take()
        try:
            finish = self._begin([seat.item for seat in batch])
            self._pass_lead(leader)
            answers = finish()
        except Exception as error:
            answers = [error] * len(batch)
        except BaseException:
            self._requeue([seat for seat in batch if seat is not leader])
            raise
        for seat, answer in zip(batch, answers, strict=True):
            seat.answer = answer
        with self._lock:
            self._expected = self._inside
            self._inside -= len(batch)
        self._pass_lead(leader)
        self._wake([seat for seat in batch if seat is not leader or seat.loop is not None])

    def _take(self) -> list[_Seat[Item, Answer]]:
        """Take the next batch from the queue. Call it with the lock held."""
        batch: list[_Seat[Item, Answer]] = []
        left = BUDGET
        while self._queue and len(batch) < self._most:
            left -= self._size(self._queue[0].item)
            if batch and left < 0:
                break
            batch.append(self._queue.popleft())
        return batch

    def _gather(self) -> None:
        """Wait a moment for the callers that were inside when the last batch ended."""
        seen, until = 0, time.perf_counter() + GATHER if self._inside < self._expected else 0.0
        while seen < self._inside < self._expected and time.perf_counter() < until:
            seen = self._inside
            time.sleep(_LOOK)

    def _pass_lead(self, leader: _Seat[Item, Answer]) -> None:
        """Make the first waiting caller the leader, if there is one and `leader` still leads."""
        with self._lock:
            if not leader.leads:
                return
            leader.leads = False
            following = self._elect()
        if following is not None:
            self._call_up(following)

    def _elect(self) -> _Seat[Item, Answer] | None:
        following = self._queue[0] if self._queue else None
        self._led = following is not None
        if following is not None:
            following.leads = True
        return following

    def _call_up(self, seat: _Seat[Item, Answer]) -> None:
        if seat.loop is None:
            seat.gate.release()
        else:
            self._pass_baton()

    def _requeue(self, seats: list[_Seat[Item, Answer]]) -> None:
        """Append the items of an interrupted leader to the queue, so that another leader executes them.

        At the end, because the first in the queue may already be the leader.
        """
        with self._lock:
            self._queue.extend(seats)
            following = None if self._led else self._elect()
        if following is not None:
            self._call_up(following)

    def _leave(self, seat: _Seat[Item, Answer]) -> None:
        """Remove an interrupted caller, and pass on the lead if it has it."""
        with self._lock:
            self._inside -= 1
            if seat in self._queue:
                self._queue.remove(seat)
        self._pass_lead(seat)

    def _wake(self, seats: list[_Seat[Item, Answer]]) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[_Seat[Item, Answer]]] = {}
        for seat in seats:
            if seat.loop is None:
                seat.gate.release()
            else:
                loops.setdefault(seat.loop, []).append(seat)
        for loop, waiting in loops.items():
            with suppress(RuntimeError):  # the loop was closed, so no coroutine waits for this answer
                loop.call_soon_threadsafe(_settle_all, waiting)

    def _pass_baton(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._lead_for_coroutines, name=self._name, daemon=True)
                self._thread.start()
        self._baton.release()

    def _lead_for_coroutines(self) -> None:
        while True:
            self._baton.acquire()
            with self._lock:
                seat = self._queue[0] if self._queue and self._queue[0].leads else None
                if seat is None and self._closed:
                    self._thread = None
                    return
            if seat is not None:
                self._lead(seat)


def _settle_all(seats: list[_Seat[Item, Answer]]) -> None:
    for seat in seats:
        seat.settle()

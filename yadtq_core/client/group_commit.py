"""Group commit: callers that come together are carried out together, by one of themselves.

The first who comes leads: it takes what waits, carries all of it out in one go, and gives each its answer. A caller
alone is carried out in its own thread, with no other thread involved. When the leader has begun its batch it hands
the lead to the first who came meanwhile, so that nobody serves others for ever and batches overlap. Coroutines wait
in the same queue; where one of them is first, a thread that is started when it is first needed leads for it.

Callers that were answered together mostly come back together, a few microseconds apart: a leader waits that moment
for as many as there were, or two small batches would take turns for ever, each at the cost of a large one.
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
"""Seconds that a leader waits at most for callers to come back, as long as some do; never for a caller alone."""
_LOOK = 0.0001

Finish = Callable[[], Sequence["Answer | Exception"]]


class _Seat(Generic[Item, Answer]):
    """One caller's place: its item, then its answer; `gate` is let go when it is answered, or told to lead."""

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
        """Return the answer, or raise it where it is an exception."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # asked only once there is an answer

    def settle(self) -> None:
        """Give a coroutine its answer; runs on its event loop."""
        if self.future is None or self.future.done():
            return
        if isinstance(self.answer, Exception):
            self.future.set_exception(self.answer)
        else:
            self.future.set_result(self.answer)  # type: ignore[arg-type]


class Combiner(Generic[Item, Answer]):
    """Carries items out in batches of at most `most`.

    begin: takes a batch and returns what finishes it, which returns an answer or an exception for each item, in
        order. Begins never overlap, finishes may. Must be idempotent: where a leader is interrupted (Ctrl-C), what
        it carried for others is carried once more.
    name: of the thread that leads for coroutines.
    """

    def __init__(self, begin: Callable[[Sequence[Item]], Finish[Answer]], *, most: int, name: str) -> None:
        self._begin = begin
        self._most = most
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
        """Return the item's answer, or raise it; the caller may serve others meanwhile, one batch at most."""
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
        """Return the item's answer, or raise it, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        seat: _Seat[Item, Answer] = _Seat(item, loop, loop.create_future())
        if self._join(seat):
            self._pass_baton()
        assert seat.future is not None
        return await seat.future

    def close(self) -> None:
        """End the thread once it has nothing to lead."""
        self._closed = True
        self._baton.release()

    def _join(self, seat: _Seat[Item, Answer]) -> bool:
        """Take a place in the queue; return whether it leads, because nobody does."""
        with self._lock:
            self._queue.append(seat)
            self._inside += 1
            if self._led:
                return False
            self._led = seat.leads = True
            return True

    def _lead(self, leader: _Seat[Item, Answer]) -> None:
        """Carry out what waits, in one batch; hand the lead on as soon as it has begun."""
        self._gather()
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._most))]
        try:
            finish = self._begin([seat.item for seat in batch])
            self._hand_on(leader)
            answers = finish()
        except Exception as error:
            answers = [error] * len(batch)
        except BaseException:
            self._put_back([seat for seat in batch if seat is not leader])
            raise
        for seat, answer in zip(batch, answers, strict=True):
            seat.answer = answer
        with self._lock:
            self._expected = self._inside
            self._inside -= len(batch)
        self._hand_on(leader)
        self._wake([seat for seat in batch if seat is not leader or seat.loop is not None])

    def _gather(self) -> None:
        """Wait a moment for those who were inside when the last batch ended."""
        seen, until = 0, time.perf_counter() + GATHER if self._inside < self._expected else 0.0
        while seen < self._inside < self._expected and time.perf_counter() < until:
            seen = self._inside
            time.sleep(_LOOK)

    def _hand_on(self, leader: _Seat[Item, Answer]) -> None:
        """Let the first who waits lead, or nobody; only where `leader` still leads."""
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

    def _put_back(self, seats: list[_Seat[Item, Answer]]) -> None:
        """Let others carry out what an interrupted leader had taken; at the end: whoever leads stays first."""
        with self._lock:
            self._queue.extend(seats)
            following = None if self._led else self._elect()
        if following is not None:
            self._call_up(following)

    def _leave(self, seat: _Seat[Item, Answer]) -> None:
        """Take a caller out that was interrupted, with its duty to lead."""
        with self._lock:
            self._inside -= 1
            if seat in self._queue:
                self._queue.remove(seat)
        self._hand_on(seat)

    def _wake(self, seats: list[_Seat[Item, Answer]]) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[_Seat[Item, Answer]]] = {}
        for seat in seats:
            if seat.loop is None:
                seat.gate.release()
            else:
                loops.setdefault(seat.loop, []).append(seat)
        for loop, waiting in loops.items():
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody is left who could be told
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

"""The virtual clock, and the strands that live by it: threads of which one runs at a time, as a seed has it.

A strand gives way only where it waits: for a time, for a signal, for the answer of a service. So the production loops
run as they are, and what they do between two waits happens at one instant. Time passes only when every strand waits.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable
from contextlib import suppress

MOST_EVENTS = 400_000
"""The limit of steps in one history: a longer one is an endless loop."""


class Killed(BaseException):
    """Ends a strand whose process was killed; no `except` of production code may take it for an error."""


class Stuck(Exception):
    """The history does not end."""


class SimulatedProcess:
    """What is killed and paused as a whole: a worker or a client. `number` serves as its process ID.

    `offset` is how far its monotonic clock is from the history's: every process has its own.
    """

    def __init__(self, loom: Loom, name: str, offset: float = 0.0) -> None:
        self.loom = loom
        self.name = name
        self.offset = offset
        self.dead = False
        self.strands: list[Strand] = []
        self.paused_since: float | None = None
        self._frozen: list[Strand] = []
        self.silent_since: float | None = None
        """The time from which it is silent: paused or dead."""
        self.children_paused = False

    def check(self) -> None:
        """Raise Killed in a strand of a dead process."""
        if self.dead:
            raise Killed

    def kill(self) -> None:
        """End it at once; its strands are unwound, and can do nothing on their way."""
        if self.dead:
            return
        self.dead = True
        if self.silent_since is None:
            self.silent_since = self.loom.now
        for strand in self.strands:
            self.loom.wake(strand)

    def pause(self, *, children: bool = True) -> None:
        """Let none of its strands run until `resume`; its children's runs go on unless they are paused too."""
        if not self.dead and self.paused_since is None:
            self.paused_since = self.silent_since = self.loom.now
            self.children_paused = children

    def resume(self) -> None:
        """Let its strands run again."""
        self.paused_since = None
        self.children_paused = False
        if not self.dead:
            self.silent_since = None
        frozen, self._frozen = self._frozen, []
        for strand in frozen:
            self.loom.wake(strand)

    def freezes(self, strand: Strand) -> bool:
        """Keep a strand back whose turn it is while the process is paused."""
        if self.paused_since is None or self.dead:
            return False
        self._frozen.append(strand)
        return True


class Strand:
    """A thread of a process, or the one that drives the history (without a process)."""

    def __init__(self, process: SimulatedProcess | None, name: str) -> None:
        self.process = process
        self.name = name
        self.baton = threading.Lock()
        self.baton.acquire()
        self.ticket = 0
        """The number of its waits: an event for an earlier wait is stale."""
        self.ended = False
        self.end = Signal()


class Signal:
    """Wakes those who wait for it."""

    def __init__(self) -> None:
        self.waiters: list[tuple[Strand, int]] = []

    def fire(self, loom: Loom, most: int | None = None) -> None:
        """Wake all who wait, or the first `most`."""
        if self.waiters:
            count = len(self.waiters) if most is None else most
            woken, self.waiters = self.waiters[:count], self.waiters[count:]
            for strand, ticket in woken:
                if strand.ticket == ticket:
                    loom.wake(strand)


class Loom:
    """Runs strands and callbacks in the order of the virtual clock. `now` is seconds since the history began."""

    def __init__(self, rng: random.Random) -> None:
        self.now = 0.0
        self._draw = rng.random
        self._heap: list[tuple[float, float, int, Strand | Callable[[], None], int]] = []
        self._count = 0
        self._driver = Strand(None, "driver")
        self.current = self._driver
        self._failure: BaseException | None = None
        self._events = 0
        self._strands: dict[Strand, None] = {}

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call something at a time; at equal times the seed decides who is first."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._draw(), self._count, call, 0))

    def fail(self, failure: BaseException) -> None:
        """End the history with this error, even if code in between catches it."""
        self._failure = self._failure or failure

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` after `seconds`."""
        self.at(self.now + seconds, call)

    def wake(self, strand: Strand, when: float | None = None) -> None:
        """End the present wait of a strand, now or at a time."""
        self._count += 1
        moment = self.now if when is None else max(when, self.now)
        heapq.heappush(self._heap, (moment, self._draw(), self._count, strand, strand.ticket))

    def spawn(self, process: SimulatedProcess, name: str, run: Callable[[], object]) -> Strand:
        """Begin a strand; it first runs when its turn comes."""
        strand = Strand(process, name)
        process.strands.append(strand)
        self._strands[strand] = None

        def body() -> None:
            strand.baton.acquire()
            try:
                with suppress(Killed):
                    process.check()
                    run()
            except BaseException as error:
                self._failure = self._failure or error
            strand.ended = True
            strand.end.fire(self)
            process.strands.remove(strand)
            del self._strands[strand]
            self._pass_on(None)

        threading.Thread(target=body, name=f"{process.name}-{name}", daemon=True).start()
        self.wake(strand)
        return strand

    def wait(self, seconds: float | None, signal: Signal | None = None) -> None:
        """Wait for `seconds` or until the signal; without either, for ever. Raise Killed if the process was killed."""
        me = self.current
        if me.process is not None:
            me.process.check()
        me.ticket += 1
        if signal is not None:
            signal.waiters.append((me, me.ticket))
        if seconds is not None:
            self.wake(me, self.now + max(0.0, seconds))
        self._pass_on(me)
        if me.process is not None:
            me.process.check()

    def run(self, until: float) -> None:
        """From the driver: let the history go on until a time. Raises what a strand or callback raised."""
        self.wait(until - self.now)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def end(self) -> None:
        """From the driver: unwind every strand that is left. Nothing happens on the way."""
        self._failure = None
        self._heap = []
        self._events = 0
        strands = list(self._strands)
        for strand in strands:
            assert strand.process is not None
            strand.process.dead = True
        for strand in strands:
            if not strand.ended:
                self.wake(strand)
        while any(not strand.ended for strand in strands):
            self.run(self.now + 1.0)

    def _pass_on(self, me: Strand | None) -> None:
        """Switch to the next strand; return when it is `me`'s turn again."""
        turn = self._next()
        if turn is me:
            assert me is not None
            self.current = me
            return
        self.current = turn
        turn.baton.release()
        if me is not None:
            me.baton.acquire()

    def _next(self) -> Strand:
        """Return the strand whose turn it is, after the callbacks that come before it."""
        heap, driver = self._heap, self._driver
        while self._failure is None:
            self._events += 1
            if not heap or self._events > MOST_EVENTS:
                self._failure = Stuck(f"after {self._events} events at {self.now:.3f} s")
                break
            when, _, _, what, ticket = heapq.heappop(heap)
            if isinstance(what, Strand):
                if what.ticket != ticket or what.ended or (what.process is not None and what.process.freezes(what)):
                    continue
                self.now = max(self.now, when)
                return what
            self.now = max(self.now, when)
            try:
                what()
            except BaseException as error:
                self._failure = error
        return driver

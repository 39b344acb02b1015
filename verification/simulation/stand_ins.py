"""Stand-ins for `time`, `threading` and `secrets`, as far as client and worker use them: virtual and seeded.

`installed` puts them in the place of these modules in the production modules that are under test, nowhere else.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace, TracebackType
from typing import Any

from verification.simulation.strands import Loom, Signal, SimulatedProcess, Strand

WITH_A_CLOCK = ("yadtq_core.worker.", "yadtq_core.client.submitter", "yadtq_core.client.background")
WITH_RANDOM_TOKENS = (*WITH_A_CLOCK, "yadtq_core.backends.redis.backend")


class Lock:
    """`threading.Lock`."""

    def __init__(self, loom: Loom) -> None:
        self._loom = loom
        self._owner: Strand | None = None
        self._free = Signal()

    def __enter__(self) -> bool:
        while self._owner is not None and not self._owner.ended:
            self._loom.wait(None, self._free)
        self._owner = self._loom.current
        return True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._owner = None
        self._free.fire(self._loom, 1)


class Condition(Lock):
    """`threading.Condition`; shares the lock that it is given."""

    def __init__(self, loom: Loom, lock: Lock | None = None) -> None:
        super().__init__(loom)
        self._lock = lock or Lock(loom)
        self._news = Signal()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.__exit__(kind, error, at)

    def wait(self, timeout: float | None = None) -> None:
        """Release the lock until notified, for at most `timeout` seconds."""
        self._lock.__exit__(None, None, None)
        try:
            self._loom.wait(timeout, self._news)
        finally:
            self._lock.__enter__()

    def notify(self, n: int = 1) -> None:
        """Wake so many."""
        self._news.fire(self._loom, n)

    def notify_all(self) -> None:
        """Wake all."""
        self._news.fire(self._loom)


class Event:
    """`threading.Event`."""

    def __init__(self, loom: Loom) -> None:
        self._loom = loom
        self._set = False
        self._news = Signal()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, wake all who wait."""
        self._set = True
        self._news.fire(self._loom)

    def clear(self) -> None:
        """Take it back."""
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for at most `timeout` seconds."""
        if not self._set:
            self._loom.wait(timeout, self._news)
        return self._set


class Thread:
    """`threading.Thread`, in the process of the strand that makes it."""

    def __init__(self, loom: Loom, *, target: Callable[[], object], name: str = "", daemon: bool = True) -> None:
        assert daemon
        self._loom, self._target, self._name = loom, target, name.removeprefix("yadtq-")
        self._strand: Strand | None = None

    def start(self) -> None:
        """Begin."""
        self._strand = self._loom.spawn(process_of(self._loom), self._name, self._target)

    def is_alive(self) -> bool:
        """Whether it has begun and not ended."""
        return self._strand is not None and not self._strand.ended

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, for at most `timeout` seconds."""
        if self._strand is not None and not self._strand.ended:
            self._loom.wait(timeout, self._strand.end)


def process_of(loom: Loom) -> SimulatedProcess:
    """Return the process whose strand runs now."""
    process = loom.current.process
    assert process is not None
    return process


def _clock(loom: Loom) -> SimpleNamespace:
    def monotonic() -> float:
        process = loom.current.process
        return loom.now + (process.offset if process is not None else 0.0)

    return SimpleNamespace(monotonic=monotonic, sleep=loom.wait)


def _threads(loom: Loom) -> SimpleNamespace:
    def bound(kind: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **named: kind(loom, *given, **named)

    return SimpleNamespace(
        Lock=bound(Lock), Condition=bound(Condition), Event=bound(Event), Thread=bound(Thread), Semaphore=None
    )


def _tokens(rng: random.Random) -> SimpleNamespace:
    def token_hex(size: int) -> str:
        return f"{rng.getrandbits(8 * size):0{2 * size}x}"

    return SimpleNamespace(token_hex=token_hex, token_urlsafe=token_hex)


@contextmanager
def installed(loom: Loom, rng: random.Random) -> Iterator[None]:
    """Let client and worker live by the loom's clock; Python's own random numbers come from the seed too."""
    state = random.getstate()
    random.seed(rng.random())
    stand_ins: dict[str, tuple[tuple[str, ...], SimpleNamespace]] = {
        "time": (WITH_A_CLOCK, _clock(loom)),
        "threading": (WITH_A_CLOCK, _threads(loom)),
        "secrets": (WITH_RANDOM_TOKENS, _tokens(rng)),
    }
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for name, module in sorted(sys.modules.items()):
            for attribute, (where, stand_in) in stand_ins.items():
                if name.startswith(where) and attribute in vars(module):
                    replaced.append((vars(module), attribute, vars(module)[attribute]))
                    vars(module)[attribute] = stand_in
        yield
    finally:
        for names, attribute, original in replaced:
            names[attribute] = original
        random.setstate(state)

"""What is done behind the callers: publish what was accepted by its record, confirm what the broker acknowledged.

Nothing depends on it in time: a record that is not confirmed within the publish grace is published (again) by a
sweep, and the copy is recognised. So what cannot be done after some tries is dropped, and memory stays bounded.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from msgspec import Struct

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend, Broker, Outgoing, Publication

BATCH = 500
LINGER = 0.02
"""Seconds: what single submits publish meanwhile is confirmed in one call, far within the publish grace."""
SEND_LINGER = 0.005
"""Seconds: what single submits leave to be published meanwhile is published in one go."""
MAX_WAITING = 50_000
"""Positions kept while the backend is away; the oldest are dropped, and swept."""
FOLLOW_SECONDS = 30.0
"""How long an acknowledgement that is late is waited for: the producer itself gives up then."""
_LOOK = 0.1
_RETRY = 0.5

Position = tuple[str, str]
"""ID and position."""


class _Followed(Struct):
    """A publication whose acknowledgement nobody waits for any more; `open` are indexes into `ids`."""

    ids: Sequence[str]
    publication: Publication
    until: float
    open: list[int]

    def news(self, timeout: float) -> list[Position]:
        """Return what has been acknowledged since the last call, after at most `timeout` seconds."""
        answers = self.publication.wait(timeout)
        found = [(self.ids[index], position) for index in self.open if (position := answers[index]) is not None]
        self.open = [index for index in self.open if answers[index] is None and index not in self.publication.errors]
        return found


class Confirmer:
    """Confirms in batches, from one thread that is started when it is first needed. Never raises to its callers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._positions: deque[Position] = deque(maxlen=MAX_WAITING)
        self._followed: deque[_Followed] = deque()
        self._unsent: deque[tuple[Outgoing, int]] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._broker: Broker | None = None

    def add(self, positions: Sequence[Position]) -> None:
        """Confirm these soon."""
        self._positions.extend(positions)
        self._rouse()

    def publish(self, broker: Broker, messages: Sequence[Outgoing], timestamp_ms: int) -> None:
        """Publish these soon, and confirm them; the caller keeps `unsent` within bounds."""
        self._broker = broker
        self._unsent.extend([(message, timestamp_ms) for message in messages])
        self._rouse()

    @property
    def unsent(self) -> int:
        """Messages not published yet."""
        return len(self._unsent)

    def follow(self, ids: Sequence[str], publication: Publication) -> None:
        """Wait for what is not acknowledged yet behind the caller, and confirm it then."""
        until = time.monotonic() + FOLLOW_SECONDS
        self._followed.append(_Followed(ids, publication, until, list(range(len(ids)))))
        self._rouse()

    def close(self, timeout: float) -> None:
        """Publish, wait for what is followed and confirm all, within `timeout` seconds in total; end the thread."""
        deadline = time.monotonic() + timeout
        self._stop.set()
        self._wake.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        while (self._unsent or self._followed or self._positions) and time.monotonic() < deadline:
            self._publish_all()
            self._follow_once(min(_LOOK, max(0.0, deadline - time.monotonic())))
            if not self._confirm_once():
                return

    def _rouse(self) -> None:
        if not self._wake.is_set():
            self._wake.set()
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="yadtq-confirmer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        """Publish and confirm until told to stop; what is left then is `close`'s."""
        while not self._stop.is_set():
            self._wake.wait()
            if max(len(self._positions), len(self._unsent)) < BATCH:
                self._stop.wait(SEND_LINGER if self._unsent else LINGER)
            self._wake.clear()
            self._publish_all()
            self._follow_once(0.0 if self._unsent else _LOOK)
            while self._positions and not self._stop.is_set():
                if not self._confirm_once():
                    self._stop.wait(_RETRY)
            if self._followed:
                self._wake.set()

    def _publish_all(self) -> None:
        """Publish what waits; what the broker does not take is left to the sweeps."""
        while self._unsent and self._broker is not None:
            batch = [self._unsent.popleft() for _ in range(min(BATCH, len(self._unsent)))]
            messages = [message for message, _ in batch]
            with suppress(YadtqError):
                publication = self._broker.publish(messages, timestamp_ms=batch[-1][1])
                self.follow([message.id for message in messages], publication)

    def _follow_once(self, timeout: float) -> None:
        """Look at each followed publication once, waiting for the oldest; drop those that are done or too old."""
        for number in range(len(self._followed)):
            one = self._followed.popleft()
            self._positions.extend(one.news(timeout if number == 0 else 0.0))
            if one.open and time.monotonic() < one.until:
                self._followed.append(one)

    def _confirm_once(self) -> bool:
        """Confirm one batch; False where the backend could not be told, and the batch waits again."""
        batch = [self._positions.popleft() for _ in range(min(BATCH, len(self._positions)))]
        if not batch:
            return True
        try:
            self._backend.confirm(batch)
        except YadtqError:
            self._positions.extendleft(reversed(batch[: MAX_WAITING - len(self._positions)]))
            return False
        return True

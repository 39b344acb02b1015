"""Work of a client in the background: publish messages of accepted records, confirm acknowledged messages.

None of it is urgent: a record that is not confirmed within the publish grace becomes ready, and a worker runs it from
the store. So work that still fails after some attempts is dropped, which bounds the memory.
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
from yadtq_core.model import Placed

BATCH = 500
LINGER = 0.02
"""Seconds to collect the positions of single submits, to confirm them in one call; far below the publish grace."""
SEND_LINGER = 0.005
"""Seconds to collect the messages of single submits, to publish them in one call."""
MAX_WAITING = 50_000
"""Positions kept while the backend is unavailable. The oldest are dropped; a sweep handles their records."""
FOLLOW_SECONDS = 30.0
"""Seconds to wait for a late acknowledgement; after that the producer gives up too."""
_LOOK = 0.1
_RETRY = 0.5


class _Followed(Struct):
    """A publication whose caller no longer waits for the acknowledgements; `open` are indexes into `sent`."""

    sent: Sequence[tuple[str, str]]
    """ID and queue of each message."""
    publication: Publication
    until: float
    open: list[int]

    def news(self, timeout: float) -> list[Placed]:
        """Return the positions acknowledged since the last call, waiting at most `timeout` seconds."""
        answers = self.publication.wait(timeout)
        found = [Placed(*self.sent[index], position) for index in self.open if (position := answers[index]) is not None]
        self.open = [index for index in self.open if answers[index] is None and index not in self.publication.errors]
        return found


class Confirmer:
    """Publishes and confirms in batches, in one thread that starts when it is needed. Never raises to its callers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._positions: deque[Placed] = deque(maxlen=MAX_WAITING)
        self._followed: deque[_Followed] = deque()
        self._unsent: deque[tuple[Outgoing, int]] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._broker: Broker | None = None

    def add(self, positions: Sequence[Placed]) -> None:
        """Confirm these positions soon."""
        self._positions.extend(positions)
        self._rouse()

    def publish(self, broker: Broker, messages: Sequence[Outgoing], timestamp_ms: int) -> None:
        """Publish these messages soon, and confirm them. The caller must keep `unsent` bounded."""
        self._broker = broker
        self._unsent.extend([(message, timestamp_ms) for message in messages])
        self._rouse()

    @property
    def unsent(self) -> int:
        """The number of messages not yet published."""
        return len(self._unsent)

    def follow(self, sent: Sequence[tuple[str, str]], publication: Publication) -> None:
        """Wait in the background for the missing acknowledgements, and confirm their messages.

        sent: ID and queue of each message of the publication.
        """
        until = time.monotonic() + FOLLOW_SECONDS
        self._followed.append(_Followed(sent, publication, until, list(range(len(sent)))))
        self._rouse()

    def close(self, timeout: float) -> None:
        """Publish, wait for late acknowledgements, confirm all and end the thread, within `timeout` seconds."""
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
        """Publish and confirm until `close`, which handles the rest."""
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
        """Publish all waiting messages. Those that the broker refuses run from their records."""
        while self._unsent and self._broker is not None:
            batch = [self._unsent.popleft() for _ in range(min(BATCH, len(self._unsent)))]
            messages = [message for message, _ in batch]
            with suppress(YadtqError):
                publication = self._broker.publish(messages, timestamp_ms=batch[-1][1])
                self.follow([(message.id, message.queue) for message in messages], publication)

    def _follow_once(self, timeout: float) -> None:
        """Check each followed publication once, waiting for the oldest; drop those that are complete or too old."""
        for number in range(len(self._followed)):
            one = self._followed.popleft()
            self._positions.extend(one.news(timeout if number == 0 else 0.0))
            if one.open and time.monotonic() < one.until:
                self._followed.append(one)

    def _confirm_once(self) -> bool:
        """Confirm one batch. False when the backend is unavailable; the batch then stays in the queue."""
        batch = [self._positions.popleft() for _ in range(min(BATCH, len(self._positions)))]
        if not batch:
            return True
        try:
            self._backend.confirm(batch)
        except YadtqError:
            self._positions.extendleft(reversed(batch[: MAX_WAITING - len(self._positions)]))
            return False
        return True

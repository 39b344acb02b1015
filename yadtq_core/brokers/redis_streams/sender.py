"""Large publications go out behind the caller, who prepares the next meanwhile: Redis works on another core."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from yadtq_core.brokers.published import Published

BULK = 100
"""Messages from which on the change of threads costs less than it gains."""


class Sending:
    """`interfaces.Publication` of messages that a thread of ours sends."""

    __slots__ = ("_count", "_future")

    def __init__(self, future: Future[Published], count: int) -> None:
        self._future = future
        self._count = count

    def wait(self, timeout: float) -> Sequence[str | None]:
        """Return the position of each; None while its answer is outstanding."""
        try:
            return self._future.result(max(0.0, timeout)).wait(0.0)
        except TimeoutError:
            return [None] * self._count

    @property
    def errors(self) -> Mapping[int, str]:
        """Why a message (by its index) was refused for good."""
        return self._future.result().errors if self._future.done() else {}


class Sender:
    """One thread that sends, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: deque[tuple[Future[Published], int]] = deque()

    def send(self, action: Callable[[], Published], count: int) -> Sending:
        """Have `count` messages sent by `action`, which never raises, after all that was given before."""
        with self._lock:
            self._thread = self._thread or ThreadPoolExecutor(1, "yadtq-streams-sender")
            future = self._thread.submit(action)
            self._under_way.append((future, count))
            while self._under_way[0][0].done():
                self._under_way.popleft()
                if not self._under_way:
                    break
        return Sending(future, count)

    def count(self) -> int:
        """Return how many messages are not answered yet."""
        with self._lock:
            return sum(count for future, count in self._under_way if not future.done())

    def close(self, timeout: float) -> None:
        """Send what was given, for at most `timeout` seconds. Nothing may be given any more."""
        with self._lock:
            thread, self._thread = self._thread, None
            futures = [future for future, _ in self._under_way]
        if thread is not None:
            wait(futures, timeout)
            thread.shutdown(wait=False, cancel_futures=True)

"""What happens to a member of the group: partitions come and go, and the member may fall out of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from kafka import AsyncConsumerRebalanceListener, TopicPartition

from yadtq_core.brokers.kafka.commits import Commits

log = logging.getLogger("yadtq.broker")

_GRACE_SECONDS = 3.0


class Ownership(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no type hints
    """Which partitions came and went since somebody looked.

    kafka-python calls the listener on its own thread while the polling thread waits in `poll` or `close`: so the
    two never touch this at a time, and it must neither block nor raise.
    """

    def __init__(self, commits: Commits, pause: Callable[..., object]) -> None:
        self._commits = commits
        self._pause = pause
        self.held: set[TopicPartition] = set()
        """Gained, and not resumed yet."""
        self._gained: set[TopicPartition] = set()
        self._lost: set[TopicPartition] = set()

    @property
    def changed(self) -> bool:
        """Whether partitions came or went since the last call of `changes`."""
        return bool(self._gained or self._lost)

    def changes(self) -> tuple[set[TopicPartition], set[TopicPartition]]:
        """Return (gained, lost) since the last call; the lost ones went first."""
        found = self._gained, self._lost
        self._gained, self._lost = set(), set()
        return found

    def lose(self, partitions: Collection[TopicPartition]) -> None:
        """Count partitions as gone."""
        self.held.difference_update(partitions)
        self._gained.difference_update(partitions)
        self._lost.update(partitions)
        self._commits.forget(partitions)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pause what came, before anything of it is fetched."""
        self._pause(*assigned)
        self.held.update(assigned)
        self._gained.update(assigned)
        log.debug("gained %s", sorted(assigned))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Commit the newest offsets of what goes."""
        try:
            self._commits.last_word(revoked)
        except Exception as error:
            log.warning("the last commit of %s could not be sent: %r", sorted(revoked), error)
        self.lose(revoked)
        log.debug("gave up %s", sorted(revoked))

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Forget what others have by now: a commit of it would be accepted, and wrong (Kafka checks membership)."""
        self.lose(lost)
        log.warning("fell out of the group: %d partitions are others' now", len(lost))


class Watch:
    """Notices a member that is out of the group for too long, and tells once when the broker goes and comes back."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._unstable_since: float | None = time.monotonic()
        self._away_since: float | None = None
        self._told = False

    def stuck(self, joined: bool) -> bool:
        """Take whether the member is in the group; return whether it has not been for longer than the limit."""
        now = time.monotonic()
        if joined:
            self._unstable_since = None
            return False
        if self._unstable_since is None:
            self._unstable_since = now
        return now - self._unstable_since > self._limit

    def sight(self, known: bool, address: str) -> None:
        """Take whether the group's coordinator is in sight."""
        now = time.monotonic()
        if known:
            if self._told and self._away_since is not None:
                log.warning("Kafka at %s is back after %.0f s", address, now - self._away_since)
            self._away_since, self._told = None, False
        elif self._away_since is None:
            self._away_since = now
        elif not self._told and now - self._away_since > _GRACE_SECONDS:
            self._told = True
            log.warning("Kafka at %s is out of sight; polling goes on", address)

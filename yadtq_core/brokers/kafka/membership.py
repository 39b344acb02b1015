"""A member of the group: the partitions that it gains and loses, and its exclusion from the group."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from kafka import AsyncConsumerRebalanceListener, TopicPartition

from yadtq_core.brokers.kafka.commits import Commits

log = logging.getLogger("yadtq.broker")

_GRACE_SECONDS = 3.0


class Ownership(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no type hints
    """The partitions gained and lost since the last call of `changes`.

    kafka-python calls the listener on its thread while the polling thread waits in `poll` or `close`: the two never
    use this at the same time, and the listener must neither block nor raise.
    """

    def __init__(self, commits: Commits, pause: Callable[..., object]) -> None:
        self._commits = commits
        self._pause = pause
        self.held: set[TopicPartition] = set()
        """Gained partitions that are not resumed yet."""
        self._gained: set[TopicPartition] = set()
        self._lost: set[TopicPartition] = set()

    @property
    def changed(self) -> bool:
        """True if partitions were gained or lost since the last call of `changes`."""
        return bool(self._gained or self._lost)

    def changes(self) -> tuple[set[TopicPartition], set[TopicPartition]]:
        """Return (gained, lost) since the last call; the lost ones come first in time."""
        found = self._gained, self._lost
        self._gained, self._lost = set(), set()
        return found

    def lose(self, partitions: Collection[TopicPartition]) -> None:
        """Note partitions as lost."""
        self.held.difference_update(partitions)
        self._gained.difference_update(partitions)
        self._lost.update(partitions)
        self._commits.forget(partitions)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pause gained partitions before the first fetch from them."""
        self._pause(*assigned)
        self.held.update(assigned)
        self._gained.update(assigned)
        log.debug("gained %s", sorted(assigned))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Commit the newest offsets of the partitions that are being lost."""
        try:
            self._commits.last_word(revoked)
        except Exception as error:
            log.warning("could not send the last commit of %s: %r", sorted(revoked), error)
        self.lose(revoked)
        log.debug("lost %s", sorted(revoked))

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Forget partitions that others may hold: Kafka checks membership only, and would accept a wrong commit."""
        self.lose(lost)
        log.warning("excluded from the group: %d partitions went to other members", len(lost))


class Watch:
    """Notices a member that is outside the group for too long, and logs each outage of the broker once."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._unstable_since: float | None = time.monotonic()
        self._away_since: float | None = None
        self._told = False

    def stuck(self, joined: bool) -> bool:
        """Return True when the member has been outside the group for longer than the limit; call it with every poll."""
        now = time.monotonic()
        if joined:
            self._unstable_since = None
            return False
        if self._unstable_since is None:
            self._unstable_since = now
        return now - self._unstable_since > self._limit

    def sight(self, known: bool, address: str) -> None:
        """Log when the group's coordinator is unreachable for some seconds, and when it answers again."""
        now = time.monotonic()
        if known:
            if self._told and self._away_since is not None:
                log.warning("Kafka at %s answers again after %.0f s", address, now - self._away_since)
            self._away_since, self._told = None, False
        elif self._away_since is None:
            self._away_since = now
        elif not self._told and now - self._away_since > _GRACE_SECONDS:
            self._told = True
            log.warning("Kafka at %s does not answer; polling continues", address)

"""The worker as a member of the consumer group: the consumer, its partitions, and the offsets that it commits."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from yadtq_core.errors import BrokerUnavailable, YadtqError
from yadtq_core.interfaces import Broker, Consumer, ReplayableConsumer
from yadtq_core.model import Delivery, Partition, Unreadable, WorkerIdentity
from yadtq_core.worker.peers import Peers
from yadtq_core.worker.rules.keeper import Keeper
from yadtq_core.worker.rules.saturation import replaceable
from yadtq_core.worker.shared import GuardedIntake, Outages

log = logging.getLogger("yadtq.worker")

CLOSE_SECONDS = 2.0
PEERS_SECONDS = 1.0


@dataclass(eq=False)
class GroupMember:
    """Owns the consumer; used by the intake thread alone.

    A gained partition stays paused until its committed offset was read and, if need be, the partition was rewound.
    """

    broker: Broker
    queues: Sequence[str]
    identity: WorkerIdentity
    intake: GuardedIntake
    keeper: Keeper
    peers: Peers
    outages: Outages
    _consumer: Consumer | None = field(default=None, init=False)
    _next_look: float = field(default=0.0, init=False)
    """When a full worker asks for its peers again."""
    _full_out: bool = field(default=False, init=False)
    """The worker has left the group because it is full."""
    _gained: set[Partition] = field(default_factory=set, init=False)
    """Partitions whose committed offsets were not read yet."""
    _paused: set[Partition] = field(default_factory=set, init=False)
    """Partitions to resume when all rewinds are done."""

    def in_group(self, free: int, now: float) -> bool:
        """Join the group when the backend answers; leave it when the backend was silent for a whole lease.

        A worker whose `free` slots were 0 for long leaves it too, if its peers can do its work: the messages of its
        partitions would wait for its slots. It joins again when it has had a free slot for a second. Return True while
        the worker is a member.
        """
        with self.intake as intake:
            intake.saturation.note(free, now)
        if self.keeper.must_leave(now):
            if self._consumer is not None:
                log.error("the backend has been silent for a whole lease: leaving the group until it answers")
                self.leave()
            return False
        if self._full_out:
            with self.intake as intake:
                self._full_out = not intake.saturation.may_join(now)
        elif self._is_replaceable(now):
            log.info("no free slot for long, and other workers have some: leaving the group until a slot is free")
            self._full_out = True
            self.leave()
        if self._full_out:
            return False
        if self._consumer is None and self.keeper.may_claim(now):
            try:
                self._consumer = self.broker.consumer(self.queues, member=self.identity.id)
                self.outages.answered("broker")
            except YadtqError as error:
                self.outages.failed("broker", error)
        return self._consumer is not None

    def _is_replaceable(self, now: float) -> bool:
        """True when this worker is full, and peers with free slots can run all that waits here."""
        if self._consumer is None or not self.broker.replayable:
            return False
        with self.intake as intake:
            names = intake.waiting_names() if intake.saturation.may_leave(now) else set()
        if not names or now < self._next_look:
            return False
        self._next_look = now + PEERS_SECONDS
        try:
            if not replaceable(self.queues, names, self.peers.online()):
                return False
        except YadtqError as error:
            self.outages.failed("backend", error)
            return False
        with self.intake as intake:
            intake.saturation.left(now)
        return True

    def leave(self) -> None:
        """Commit, settle, and leave the group."""
        if self._consumer is None:
            return
        self.commit()
        self._settle()
        self._consumer.close(CLOSE_SECONDS)
        self._consumer = None
        self._gained, self._paused = set(), set()
        with self.intake as intake:
            for partition in intake.partitions():
                intake.lost(partition)

    @property
    def _joined(self) -> Consumer:
        assert self._consumer is not None
        return self._consumer

    @property
    def replayable(self) -> ReplayableConsumer:
        """The consumer of a replayable broker, while the worker is a member."""
        assert isinstance(self._consumer, ReplayableConsumer)  # no other consumer gains partitions
        return self._consumer

    def poll(self, most: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        """Settle what the claims have answered, then fetch up to `most` messages, waiting `timeout` seconds at most.

        With `most` 0 the call only keeps the membership.
        """
        self._settle()
        return self._joined.poll(most, timeout)

    def _settle(self) -> None:
        """Settle deliveries one by one; there are none on a broker that counts offsets."""
        with self.intake as intake:
            spent = intake.spent()
        if spent:
            self._joined.settle(spent)

    def commit(self) -> None:
        """Commit the watermarks that have moved."""
        with self.intake as intake:
            offsets = intake.to_commit()
        if offsets:
            self.replayable.commit(offsets)

    def pause(self) -> None:
        """Pause partitions that are too far ahead of their watermarks, and resume those that are not any more."""
        with self.intake as intake:
            pause, resume = intake.to_pause()
        if pause:
            self._joined.pause(pause)
            log.warning("paused until older messages are done: %s", names(pause))
        if resume:
            self._joined.resume(resume)

    def pause_lanes(self) -> None:
        """Pause the partitions of lanes of which enough waits here, and resume those of the others."""
        with self.intake as intake:
            pause, resume = intake.lanes_to_pause()
        if pause:
            self._joined.pause(pause)
        if resume:
            self._joined.resume(resume)

    def follow_assignment(self) -> None:
        """Take over gained partitions, forget lost ones, rewind those whose offsets belong to another epoch."""
        gained, lost = self._joined.changes()
        self._gained = (self._gained - lost) | gained
        self._paused -= lost
        with self.intake as intake:
            for partition in lost:
                intake.lost(partition)
        try:
            self._take_over()
            self._rewind()
        except BrokerUnavailable as error:
            self.outages.failed("broker", error)
            return
        if self._paused:
            self._joined.resume(list(self._paused))
            self._paused = set()

    def _take_over(self) -> None:
        if not self._gained:
            return
        committed = self.replayable.committed(list(self._gained))
        with self.intake as intake:
            for partition in self._gained:
                intake.gained(partition, *committed.get(partition, (None, "")))
        log.info("partitions gained: %s", names(self._gained))
        self._paused |= self._gained
        self._gained = set()

    def _rewind(self) -> None:
        """Read again from the offset after which the backend may have lost writes; the claims rebuild its records."""
        with self.intake as intake:
            rewinds = intake.to_rewind()
        for rewind in rewinds:
            partition = rewind.partition
            self._joined.pause([partition])
            self._paused.add(partition)
            found = self.replayable.offset_at(partition, rewind.since_ms)
            offset = rewind.safe if found is None else min(rewind.safe, found)
            self.replayable.seek(partition, offset)
            with self.intake as intake:
                intake.rewound(rewind, offset)
            log.warning("the backend may have lost writes: reading %s again from offset %d", names([partition]), offset)


def names(partitions: Iterable[Partition]) -> str:
    """Return partitions as the log shows them: `default/0, default/3`."""
    return ", ".join(f"{queue}/{number}" for queue, number in sorted(partitions))

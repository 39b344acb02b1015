"""The rules of intake: it claims, parks, offers and settles messages; it commits, pauses and rewinds partitions.

A plain object without I/O. The caller reports polled messages, answers of claims, ended runs and the time; the rules
return what to do. Times are local monotonic seconds unless their name says otherwise.

A broker that is not `replayable` has no offsets to keep, and the index `open` of the backend holds every claimed task.
There a delivery is *spent*, that is, ready to be settled, when its claim was answered with any verdict. Nothing is
parked or offered there, because the worker polls only as many messages as it claims at once.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from yadtq_core.model import Answer, Delivery, Epoch, Lease, Partition, Place, Unreadable, Verdict
from yadtq_core.worker.rules.budget import BUDGET, size_of_deliveries, size_of_delivery
from yadtq_core.worker.rules.lanes import Lanes, Share, Waiting
from yadtq_core.worker.rules.offers import FreePeers, Offers
from yadtq_core.worker.rules.partition import PartitionProgress, Rewind
from yadtq_core.worker.rules.read_again import ReadAgain
from yadtq_core.worker.rules.saturation import Saturation

POLL_MOST = 500
"""Messages asked for at a time."""
MAX_WINDOW = 200
"""The most runs that one claim takes, and the most that a worker with fewer slots holds.

It bounds the size of one script call, and how many tasks wait until their leases end if the worker is lost. On a broker
that is not replayable, a claim takes everything already polled, even if that is more.
"""
WORTH_A_CALL = 50
"""At a high pace a claim waits for this many deliveries, or a quarter of the window: a call costs as much as ten."""
WINDOW_SECONDS = 0.2
"""The window is about the number of runs that ended within this time."""
SETTLED = frozenset({Verdict.DONE, Verdict.LATER, Verdict.POISON, Verdict.TOO_OLD, Verdict.ERROR})
"""Verdicts after which a delivery is done. A damaged record (ERROR) needs a person; another claim changes nothing."""


class Intake:
    """The state of one worker's intake.

    margin: two heartbeats, in seconds: how old the mark of a commit may be. replayable: the flag of the broker.
    """

    def __init__(self, margin: float = 10.0, *, replayable: bool = True) -> None:
        self._replayable = replayable
        self._spent: list[Place] = []
        """Places to settle, on a broker that is not replayable."""
        self._margin_ms = int(margin * 1000)
        self._partitions: dict[Partition, PartitionProgress] = {}
        self._queues: list[str] = []
        self.lanes = Lanes()
        self.read_again = ReadAgain()
        self._parked: list[tuple[float, int, Delivery]] = []
        """A heap of (when to claim it again, a tie-breaker, delivery)."""
        self._tie = itertools.count()
        self._running: set[str] = set()
        """IDs of tasks that are claimed and have not ended."""
        self._ended: deque[tuple[float, int]] = deque()
        """(time, number) of runs that ended within WINDOW_SECONDS; their sum is `_ended_count`."""
        self._ended_count = 0
        self.epochs: tuple[Epoch, ...] = ()
        """Those of the last answered heartbeat."""
        self.saturation = Saturation()
        self._offers = Offers()
        self._restarted: list[Partition] = []

    # Partitions and messages

    def gained(self, partition: Partition, committed: int | None, metadata: str = "") -> None:
        """Add a partition that was assigned to this worker; `committed` is its committed offset, None without one."""
        self._partitions[partition] = PartitionProgress(committed, metadata, self._epoch_of(partition))
        self._queues = sorted({each.queue for each in self._partitions})

    def _epoch_of(self, partition: Partition) -> Epoch | None:
        return self.epochs[partition.number % len(self.epochs)] if self.epochs else None

    def partitions(self) -> list[Partition]:
        """Return the assigned partitions."""
        return list(self._partitions)

    def queues(self) -> list[str]:
        """Return the queues of the assigned partitions."""
        return self._queues

    def lost(self, partition: Partition) -> None:
        """Forget a partition that is not assigned any more. Its tasks that run go on."""
        self._partitions.pop(partition, None)
        self._queues = sorted({each.queue for each in self._partitions})
        self._drop(partition)

    def _drop(self, partition: Partition) -> None:
        self.lanes.drop(partition)
        self.read_again.drop(partition)
        self._parked = [entry for entry in self._parked if entry[2].partition != partition]
        heapq.heapify(self._parked)

    def polled(self, messages: Iterable[Delivery | Unreadable], now: float) -> list[Unreadable]:
        """Add messages, those of each partition in the order of their offsets; return the unreadable ones.

        Messages of other partitions, repeated ones, and those that the last commit tells as done are ignored. An offset
        below the watermark means that the log restarted (its topic was recreated, for example): all its messages are
        new, and `log_restarts` reports it.
        """
        unreadable = []
        for message in messages:
            place = self._place_of(message) if self._replayable else self.lanes
            if place is None:
                continue
            if isinstance(message, Delivery):
                place.append(message)
            else:
                unreadable.append(message)
        return unreadable

    def _place_of(self, message: Delivery | Unreadable) -> Lanes | ReadAgain | None:
        """Return where a message waits: to be claimed, or to be asked about first. None for one to ignore."""
        partition = message.partition
        progress = self._partitions.get(partition) if partition is not None else None
        if partition is None or progress is None or not progress.belongs_to(self._epoch_of(partition)):
            return None
        if message.offset < progress.watermark.low:
            progress.restarted(message.offset)
            self._drop(partition)
            self._restarted.append(partition)
        if not progress.watermark.delivered(message.offset):
            return None
        return self.read_again if message.offset < progress.read_before else self.lanes

    def log_restarts(self) -> list[Partition]:
        """Return the partitions whose logs have restarted since the last call."""
        found, self._restarted = self._restarted, []
        return found

    def reads_again(self) -> bool:
        """True while messages of an assigned partition are read that were read before."""
        return any(progress.watermark.position < progress.read_before for progress in self._partitions.values())

    def asked(self, ended: Sequence[bool]) -> None:
        """Process answers about the first of `read_again`: settle what has ended, let the others wait for a claim."""
        done, others = self.read_again.answered(ended)
        for delivery in done:
            self.settled(delivery)
        for delivery in others:
            self.lanes.append(delivery)

    # Claiming

    def appetite(self, window: int) -> int:
        """Return how many messages to poll when `window` more runs may be claimed.

        A replayable broker is asked for POLL_MOST, unless enough deliveries of each lane wait. Another broker is asked
        for as many as may be claimed and do not wait here yet. At the full pace it is asked for MAX_WINDOW more, and
        only when at least half of them are lacking, so that there are fewer polls. No broker is asked for more while
        the waiting deliveries use up BUDGET, or before the answer about those that are read again.
        """
        if self._replayable:
            wanted = POLL_MOST if not self.read_again and self.lanes.hungry(self.queues()) else 0
        else:
            ahead = MAX_WINDOW if self._ended_count >= MAX_WINDOW else 0
            lacking = window + ahead - len(self.lanes)
            wanted = lacking if lacking > ahead // 2 else 0
        return wanted if wanted and size_of_deliveries(self.lanes.deliveries()) < BUDGET else 0

    @property
    def waiting(self) -> int:
        """How many deliveries wait to be claimed, without the parked ones."""
        return len(self.lanes)

    def next_parked(self) -> float | None:
        """Return when to claim the next parked delivery again, None if none is parked."""
        return self._parked[0][0] if self._parked else None

    def window(self, free: int, now: float, *, ahead: bool = True) -> int:
        """Return how many more runs may be claimed now, with `free` slots empty.

        The pace is the number of runs that ended within WINDOW_SECONDS, at most MAX_WINDOW. The answer is the pace
        minus the claimed runs that have not ended, or the free slots if they are more. ahead: False when the claimed
        runs hold too many bytes, so that only free slots count.
        """
        while self._ended and self._ended[0][0] < now - WINDOW_SECONDS:
            self._ended_count -= self._ended.popleft()[1]
        pace = min(self._ended_count, MAX_WINDOW)
        more = pace - len(self._running)
        if not ahead or more < min(pace // 4, WORTH_A_CALL):
            more = 0  # a claim of so few is not worth a call yet
        if not self._replayable and len(self.lanes) > pace:
            more = len(self.lanes)  # no other worker can get them
        return max(min(free, MAX_WINDOW), more)

    def share(self, window: int, now: float) -> Share:
        """Divide the next `window` runs, without those of parked deliveries that are due, among lanes and sources."""
        due = sum(until <= now for until, _, _ in self._parked) if self._parked and self._parked[0][0] <= now else 0
        return self.lanes.share(max(0, window - due))

    def next_batch(
        self, window: int, now: float, polled: Mapping[str, int], taken: Sequence[Delivery] = (), room: int = BUDGET
    ) -> list[Delivery]:
        """Return up to `window` deliveries to claim: those `taken` from the store, due parked ones, and others.

        polled: how many of each lane, as `share` said; if fewer were taken from the store, more of them come. A batch
        contains no ID twice and none that runs here: such a delivery is parked for a second, or spent. It ends with the
        delivery that fills `room` (bytes).
        """
        batch = {one.message.id: one for one in taken if one.message.id not in self._running}
        room -= size_of_deliveries(taken)
        while len(batch) < window and room > 0 and self._parked and self._parked[0][0] <= now:
            delivery = heapq.heappop(self._parked)[2]
            room -= size_of_delivery(delivery)
            self._take(delivery, batch, now)
        others = self.lanes.take(polled)
        while len(batch) < window and room > 0 and (other := next(others, None)) is not None:
            room -= size_of_delivery(other)
            self._take(other, batch, now)
        return list(batch.values())

    def _take(self, delivery: Delivery, batch: dict[str, Delivery], now: float) -> None:
        task_id = delivery.message.id
        if task_id not in batch and task_id not in self._running:
            batch[task_id] = delivery
        elif self._replayable:
            self._park(delivery, now + 1.0)
        elif delivery.partition is not None:
            self._spent.append(Place(delivery.partition, delivery.offset))

    def _park(self, delivery: Delivery, until: float) -> None:
        heapq.heappush(self._parked, (until, next(self._tie), delivery))

    def put_back(self, deliveries: Sequence[Delivery], *, requeued: bool = False) -> None:
        """Queue deliveries first again: their outcomes were refused, or their leases were requeued (`requeued`).

        Peers may take a requeued task, so its delivery counts as offered. If the broker is not replayable, deliveries
        of requeued leases are settled already: sweeps find their records.
        """
        if not self._replayable:
            ours = [] if requeued else list(deliveries)
            self.lanes.put_first([Waiting(delivery) for delivery in ours])
            return
        ours = [entry for entry in deliveries if entry.partition is None or entry.partition in self._partitions]
        self.lanes.put_first([Waiting(delivery, offered=requeued) for delivery in ours])

    def claimed(self, batch: Sequence[Delivery], answers: Sequence[Answer], now: float) -> list[Lease]:
        """Process the answers of a claim; return the leases to run."""
        leases = []
        if not self._replayable:
            self._spent += [Place(d.partition, d.offset) for d in batch if d.partition is not None]
        for delivery, answer in zip(batch, answers, strict=True):
            if answer.verdict is Verdict.RUN:
                self._running.add(delivery.message.id)
                leases.append(Lease(delivery, answer.fence, answer.attempt, answer.started_at_ms, answer.lost))
            elif answer.verdict is Verdict.BUSY:
                self._park_busy(delivery, answer, now)
            elif answer.verdict in SETTLED:
                self.settled(delivery)
        return leases

    def _park_busy(self, delivery: Delivery, answer: Answer, now: float) -> None:
        """Park a delivery until the lease on its record ends; ignore one that came from a sweep or a lost partition."""
        if delivery.partition in self._partitions:
            self._park(delivery, now + answer.wait_ms / 1000 + 0.01)

    # Requeue requests of a saturated worker

    def to_offer(self, peers: FreePeers) -> list[Waiting]:
        """Return the waiting deliveries to offer to peers now."""
        return self._offers.batch(self.lanes, self._running, peers)

    def offered(self, batch: Sequence[Waiting], answers: Sequence[Answer], now: float) -> None:
        """Process the answers of an offer: settle deliveries that are done, mark the others as offered."""
        gone: list[Waiting] = []
        untaken: list[Waiting] = []
        for entry, answer in zip(batch, answers, strict=True):
            if answer.verdict in SETTLED:
                self.settled(entry.delivery)
            elif answer.verdict is Verdict.BUSY:
                self._park_busy(entry.delivery, answer, now)
            else:
                if entry.offered:
                    untaken.append(entry)
                entry.offered = True
                continue
            gone.append(entry)
        self.lanes.remove(gone)
        self._offers.answered(untaken)

    def waiting_names(self) -> set[tuple[str, str]]:
        """Return (queue, task) of what waits here for a slot."""
        return {(entry.delivery.message.queue, entry.delivery.message.task) for entry in self.lanes}

    # Runs and settled messages

    def stopped(self, ids: Iterable[str], now: float, *, ended: bool = True) -> None:
        """Remove runs that have ended (their number sets the pace of claiming) or were requeued."""
        before = len(self._running)
        self._running.difference_update(ids)
        fewer = before - len(self._running)
        if fewer and ended:
            self._ended.append((now, fewer))
            self._ended_count += fewer

    def runs(self, task_id: str) -> bool:
        """True when this task is claimed here and has not ended."""
        return task_id in self._running

    def settled(self, delivery: Delivery) -> None:
        """Mark the offset of a delivery as done."""
        if delivery.partition is not None and (progress := self._partitions.get(delivery.partition)):
            progress.watermark.done(delivery.offset)

    def done(self, partition: Partition, offset: int) -> None:
        """Mark an offset as done, or spent: its dead letter was acknowledged, for example."""
        if not self._replayable:
            self._spent.append(Place(partition, offset))
        elif progress := self._partitions.get(partition):
            progress.watermark.done(offset)

    def spent(self) -> list[Place]:
        """Return the places to settle now, each once; none if the broker counts offsets."""
        spent, self._spent = self._spent, []
        return spent

    # Watermarks, commits and rewinds

    def beat(self, epochs: tuple[Epoch, ...]) -> None:
        """Process the answer of a heartbeat, the epochs of all shards: keep the present watermarks as safe offsets."""
        self.epochs = epochs
        for partition, progress in self._partitions.items():
            if (current := self._epoch_of(partition)) is not None:
                progress.beat(current)

    def to_rewind(self) -> list[Rewind]:
        """Return the partitions to read again, because their offsets belong to another epoch.

        Until `rewound` is called, their messages are ignored and none of their offsets is committed.
        """
        rewinds = []
        for partition, progress in self._partitions.items():
            current = self._epoch_of(partition)
            if current is not None and not progress.belongs_to(current):
                since_ms = progress.rewind_since(current, self._margin_ms)
                rewinds.append(Rewind(partition, since_ms, progress.safe[0], current))
        return rewinds

    def rewound(self, rewind: Rewind, offset: int) -> None:
        """Read a partition from this offset again. If the epoch has changed since, another rewind follows."""
        if progress := self._partitions.get(rewind.partition):
            progress.rewound(offset, rewind.epoch)
            self._drop(rewind.partition)

    def to_commit(self) -> Mapping[Partition, tuple[int, str]]:
        """Return (offset, metadata) of each partition in which one of them differs from the last commit."""
        points = {
            partition: progress.to_commit(self._epoch_of(partition)) for partition, progress in self._partitions.items()
        }
        return {partition: point for partition, point in points.items() if point is not None}

    def lows(self) -> dict[Partition, int]:
        """Return the lowest offset of each partition that may still be claimed; below it, all were claimed or settled.

        Without the partitions that must be rewound, and those of which nothing is known yet. None while deliveries that
        are read again were not asked about.
        """
        lows: dict[Partition, int] = {}
        for partition, progress in self._partitions.items():
            if progress.belongs_to(self._epoch_of(partition)) and not self.read_again:
                waiting = self.lanes.lowest(partition)
                lows[partition] = progress.watermark.position if waiting is None else waiting
        return lows

    def lanes_to_pause(self) -> tuple[list[Partition], list[Partition]]:
        """Return (partitions to pause now, partitions to resume now) because of what waits in their lanes."""
        pause, resume = self.lanes.to_pause(self._queues)
        if not pause and not resume:
            return [], []
        return (
            [partition for partition in self._partitions if partition.queue in pause],
            [
                partition
                for partition, progress in self._partitions.items()
                if partition.queue in resume and not progress.paused
            ],
        )

    def to_pause(self) -> tuple[list[Partition], list[Partition]]:
        """Return (partitions to pause now, partitions to resume now)."""
        pause: list[Partition] = []
        resume: list[Partition] = []
        for partition, progress in self._partitions.items():
            if progress.paused is progress.pauses():
                continue
            progress.paused = not progress.paused
            if progress.paused:
                pause.append(partition)
            elif not self.lanes.paused(partition.queue):
                resume.append(partition)
        return pause, resume

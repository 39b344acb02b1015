"""Intake's rules: which messages are claimed, parked, offered and settled; what is committed, paused and rewound.

A plain object without I/O: it is told what was polled, how claims were answered, which runs ended and what the time
is, and answers what to do. Times are local monotonic seconds unless their name says otherwise.

Where the broker's messages cannot be read again (`replayable` is False) there are no offsets to keep, and the index
`open` of the backend holds whatever was claimed: then each delivery is *spent*, to be settled, as soon as its claim is
answered, whatever the verdict; nothing is parked or offered, as no more is polled than is claimed at once.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from yadtq_core.model import Answer, Delivery, Epoch, Lease, Partition, Place, Unreadable, Verdict
from yadtq_core.worker.rules.partition import Progress, Rewind

POLL_MOST = 500
"""Messages asked for at a time."""
ENOUGH_WAITING = 200
"""With so many waiting to be claimed no more are polled: they would only be others' work held back."""
MAX_SPAN = 10_000
"""Offsets between a partition's watermark and its position at which it pauses: what a crash makes others re-read."""
MAX_WINDOW = 200
"""Claimed and not ended runs at most: a lost worker's share, and what one script call should carry."""
WORTH_A_CALL = 50
"""At a high pace so many claims are gathered, or a quarter of the window: a call's fixed cost is that of ten tasks."""
WINDOW_SECONDS = 0.2
"""The window is about what ended within this time."""
MAX_OFFERS = 200
OFFER_GROWTH = 4
"""A round's offers were all taken: short tasks, probably, of which a free slot takes many in a second."""
SETTLED = frozenset({Verdict.DONE, Verdict.LATER, Verdict.POISON, Verdict.TOO_OLD, Verdict.ERROR})
"""Verdicts after which a delivery needs nobody any more. A damaged record (ERROR) is left for people to look at."""


@dataclass(slots=True)
class Waiting:
    """A delivery that was polled and is not claimed."""

    delivery: Delivery
    since: float
    offered: bool = False


class Intake:
    """The state of one worker's intake.

    margin: two heartbeats, in seconds: what a mark may be behind. replayable: as the broker says.
    """

    def __init__(self, margin: float = 10.0, *, replayable: bool = True) -> None:
        self._replayable = replayable
        self._spent: list[Place] = []
        self._margin_ms = int(margin * 1000)
        self._partitions: dict[Partition, Progress] = {}
        self._waiting: deque[Waiting] = deque()
        self._parked: list[tuple[float, int, Delivery]] = []
        self._tie = itertools.count()
        self._running: set[str] = set()
        self._ended: deque[tuple[float, int]] = deque()
        self._ended_count = 0
        self._epochs: tuple[Epoch, ...] = ()
        self._saturated_since: float | None = None
        self._offers = 0
        self._restarted: list[Partition] = []

    # What came and went

    def gained(self, partition: Partition, committed: int | None, metadata: str = "") -> None:
        """A partition is ours now; `committed` is its committed offset, None where there is none."""
        self._partitions[partition] = Progress(committed, metadata, self._epoch_of(partition))

    def _epoch_of(self, partition: Partition) -> Epoch | None:
        return self._epochs[partition.number % len(self._epochs)] if self._epochs else None

    def partitions(self) -> list[Partition]:
        """Return the partitions that are ours."""
        return list(self._partitions)

    def lost(self, partition: Partition) -> None:
        """A partition is not ours any more: forget all of it but what runs."""
        self._partitions.pop(partition, None)
        self._drop(partition)

    def _drop(self, partition: Partition) -> None:
        self._waiting = deque(entry for entry in self._waiting if entry.delivery.partition != partition)
        self._parked = [entry for entry in self._parked if entry[2].partition != partition]
        heapq.heapify(self._parked)

    def polled(self, messages: Iterable[Delivery | Unreadable], now: float) -> list[Unreadable]:
        """Messages came, each partition's in the order of its offsets; return those that cannot be read.

        Those of partitions that are not ours, and repeated ones, are passed over. One from below the watermark says
        that the log is not what it was (its topic was made anew, say): `log_restarts` tells, and all of it is new.
        """
        if not self._replayable:
            return self._arrived(messages, now)
        unreadable = []
        for message in messages:
            partition = message.partition
            progress = self._partitions.get(partition) if partition is not None else None
            if partition is None or progress is None or not progress.stands(self._epoch_of(partition)):
                continue
            if message.offset < progress.mark.low:
                progress.restarted(message.offset)
                self._drop(partition)
                self._restarted.append(partition)
            if not progress.mark.delivered(message.offset):
                continue
            if isinstance(message, Delivery):
                self._waiting.append(Waiting(message, now))
            else:
                unreadable.append(message)
        return unreadable

    def _arrived(self, messages: Iterable[Delivery | Unreadable], now: float) -> list[Unreadable]:
        unreadable = []
        for message in messages:
            if isinstance(message, Delivery):
                self._waiting.append(Waiting(message, now))
            else:
                unreadable.append(message)
        return unreadable

    def log_restarts(self) -> list[Partition]:
        """Return the partitions whose logs began anew since the last call."""
        found, self._restarted = self._restarted, []
        return found

    # Claiming

    def appetite(self, window: int) -> int:
        """Return how many messages to ask the broker for, where `window` more runs may be claimed."""
        if self._replayable:
            return POLL_MOST if len(self._waiting) < ENOUGH_WAITING else 0
        ahead = MAX_WINDOW if self._ended_count >= MAX_WINDOW else 0
        lacking = window + ahead - len(self._waiting)
        return lacking if lacking > ahead // 2 else 0

    @property
    def waiting(self) -> int:
        """How many deliveries wait to be claimed, parked ones not counted."""
        return len(self._waiting)

    def next_parked(self) -> float | None:
        """Return when the next parked delivery is to be claimed again, None if none is parked."""
        return self._parked[0][0] if self._parked else None

    def window(self, free: int, now: float) -> int:
        """Return how many more runs may be claimed now, with `free` slots empty.

        At least the free slots; otherwise about what ended within the last 200 ms, at most 200, less what runs.
        What cannot be read again is claimed in any case where it would wait for longer: nobody else can have it.
        """
        while self._ended and self._ended[0][0] < now - WINDOW_SECONDS:
            self._ended_count -= self._ended.popleft()[1]
        pace = min(self._ended_count, MAX_WINDOW)
        more = pace - len(self._running)
        if more < min(pace // 4, WORTH_A_CALL):
            more = 0
        if not self._replayable and len(self._waiting) > pace:
            more = len(self._waiting)
        return max(min(free, MAX_WINDOW), more)

    def next_batch(self, window: int, now: float) -> list[Delivery]:
        """Take up to `window` deliveries to claim: parked ones whose time has come, then by arrival.

        A batch has no ID twice, and none that runs here: such a delivery is parked for a second, or spent.
        """
        batch: dict[str, Delivery] = {}
        while len(batch) < window and self._parked and self._parked[0][0] <= now:
            self._take(heapq.heappop(self._parked)[2], batch, now)
        while len(batch) < window and self._waiting:
            self._take(self._waiting.popleft().delivery, batch, now)
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

    def put_back(self, deliveries: Sequence[Delivery], now: float, *, offered: bool = False) -> None:
        """These were not claimed after all (no answer), or given back unstarted (`offered`): they come next.

        What was given back is left to the sweeps where its delivery is settled already.
        """
        if not self._replayable:
            ours = [] if offered else list(deliveries)
            self._waiting.extendleft(Waiting(delivery, now) for delivery in reversed(ours))
            return
        ours = [entry for entry in deliveries if entry.partition is None or entry.partition in self._partitions]
        self._waiting.extendleft(Waiting(delivery, now, offered) for delivery in reversed(ours))

    def claimed(self, batch: Sequence[Delivery], answers: Sequence[Answer], now: float) -> list[Lease]:
        """Note how a claim was answered; return the leases to run."""
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
        """Look again when the lease ends. What came from a sweep, or is no longer ours, is left to others."""
        if delivery.partition in self._partitions:
            self._park(delivery, now + answer.wait_ms / 1000 + 0.01)

    # Saturation: what waits here is offered to others

    def saturated(self, free: int, now: float) -> bool:
        """Return whether every slot has been taken for more than a second; told the free slots at each look."""
        if free:
            self._saturated_since = None
            return False
        if self._saturated_since is None:
            self._saturated_since = now
        return now - self._saturated_since > 1.0

    def to_offer(self, elsewhere: int) -> list[Delivery]:
        """Return what to offer now, with `elsewhere` slots free on other workers: the longest-waiting, at most 200.

        What was offered before and still waits is offered again: the answer tells whether others took it. While
        they take all of it, four times as many new ones go out with every round; else as many as there are free slots.
        """
        self._offers = min(max(self._offers, elsewhere), MAX_OFFERS)
        if not self._offers:
            return []
        batch: dict[str, Delivery] = {}
        fresh = 0
        for entry in self._waiting:
            if len(batch) == MAX_OFFERS or fresh == self._offers:
                break
            task_id = entry.delivery.message.id
            if task_id not in self._running and task_id not in batch:
                batch[task_id] = entry.delivery
                fresh += not entry.offered
        return list(batch.values())

    def offered(self, batch: Sequence[Delivery], answers: Sequence[Answer], now: float) -> None:
        """Note how an offer was answered: what is done is settled, the rest waits on, marked as offered."""
        by_place = {
            (delivery.partition, delivery.offset): answer for delivery, answer in zip(batch, answers, strict=True)
        }
        left: deque[Waiting] = deque()
        untaken = 0
        for entry in self._waiting:
            answer = by_place.get((entry.delivery.partition, entry.delivery.offset))
            if answer is None:
                left.append(entry)
            elif answer.verdict in SETTLED:
                self.settled(entry.delivery)
            elif answer.verdict is Verdict.BUSY:
                self._park_busy(entry.delivery, answer, now)
            else:
                untaken += entry.offered
                entry.offered = True
                left.append(entry)
        self._waiting = left
        self._offers = 0 if untaken else self._offers * OFFER_GROWTH

    # Ends

    def stopped(self, ids: Iterable[str], now: float, *, ended: bool = True) -> None:
        """These do not run here any more: they ended (which sets the pace of claiming), or were given back."""
        before = len(self._running)
        self._running.difference_update(ids)
        fewer = before - len(self._running)
        if fewer and ended:
            self._ended.append((now, fewer))
            self._ended_count += fewer

    def runs(self, task_id: str) -> bool:
        """Return whether this task is claimed here and has not ended."""
        return task_id in self._running

    def settled(self, delivery: Delivery) -> None:
        """Nobody needs this delivery any more."""
        if delivery.partition is not None and (progress := self._partitions.get(delivery.partition)):
            progress.mark.done(delivery.offset)

    def done(self, partition: Partition, offset: int) -> None:
        """Nobody needs what stands there (a dead letter that was acknowledged, say)."""
        if not self._replayable:
            self._spent.append(Place(partition, offset))
        elif progress := self._partitions.get(partition):
            progress.mark.done(offset)

    def spent(self) -> list[Place]:
        """Return what is to be settled now, each once; nothing where progress is an offset."""
        spent, self._spent = self._spent, []
        return spent

    # How far it is done

    def beat(self, epochs: tuple[Epoch, ...]) -> None:
        """A heartbeat was answered in these epochs, one a shard: the watermarks of now become the past's."""
        self._epochs = epochs
        for partition, progress in self._partitions.items():
            if (current := self._epoch_of(partition)) is not None:
                progress.beat(current)

    def to_rewind(self) -> list[Rewind]:
        """Return the partitions that must be read again: their offsets belong to another epoch.

        Until `rewound` is told, their messages are passed over and nothing of them is committed.
        """
        rewinds = []
        for partition, progress in self._partitions.items():
            current = self._epoch_of(partition)
            if current is not None and not progress.stands(current):
                since_ms = progress.rewind_since(current, self._margin_ms)
                rewinds.append(Rewind(partition, since_ms, progress.safe[0], current))
        return rewinds

    def rewound(self, rewind: Rewind, offset: int) -> None:
        """A partition is read from this offset again. Where a newer epoch came meanwhile, another rewind follows."""
        if progress := self._partitions.get(rewind.partition):
            progress.rewound(offset, rewind.epoch)
            self._drop(rewind.partition)

    def to_commit(self) -> Mapping[Partition, tuple[int, str]]:
        """Return (offset, metadata) of each partition whose offset or metadata is not what was committed last."""
        points = {
            partition: progress.to_commit(self._epoch_of(partition)) for partition, progress in self._partitions.items()
        }
        return {partition: point for partition, point in points.items() if point is not None}

    def to_pause(self) -> tuple[list[Partition], list[Partition]]:
        """Return (partitions to pause now, partitions to resume now)."""
        pause, resume = [], []
        for partition, progress in self._partitions.items():
            if not progress.paused and progress.mark.span >= MAX_SPAN:
                progress.paused = True
                pause.append(partition)
            elif progress.paused and progress.mark.span < MAX_SPAN // 2:
                progress.paused = False
                resume.append(partition)
        return pause, resume

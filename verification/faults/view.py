"""A history, sorted out for the checker: what happened to each task, in the order of Redis's clock."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

from msgspec import Struct

from verification.faults import history as h

E = TypeVar("E", bound=h.HistoryEvent)

TERMINAL = frozenset({"success", "failed", "cancelled"})
SLACK_MS = 50.0
"""Redis's clock is the machine's, which is slewed; and what it says is read a round trip later."""

NEAR = 0.1
"""Seconds before a fault in which a request may have lost its answer."""
BACK_SECONDS = 0.5
"""Seconds for which a store may have answered again before the harness noticed."""
REWIND_SECONDS = 1.0
"""Seconds after a worker heard of a loss in which it may commit old offsets: another thread does the rewind."""
LOG_LOST = "broker lost its last second"
"""The fault by which offsets of the log are given a second time."""


class Rules(Struct, frozen=True, kw_only=True):
    """Limits for the checker. Durations are seconds; None: not checked."""

    lease: float
    lost_limit: int = 3
    forgets: bool = False
    """A store that loses anything loses everything (I1, I3)."""
    gap: float | None = None
    """The longest time without a finish while there is work (I15)."""
    restart: float | None = None
    """The longest time from a worker's fault to the next start of what it ran (I11)."""
    memory: int | None = None
    """The most that a worker's own process may hold, in bytes (I17)."""
    handover: float | None = None
    """The longest time from the exit of a worker that was asked to end to the next start of what it held (I18)."""

    @property
    def again(self) -> float:
        """A task that ended within this time before a total loss runs again: two heartbeats, which may be early."""
        return 2 / 3 * self.lease - NEAR

    def outlasts(self, at: float, loss: h.Fault) -> bool:
        """Return whether what the store answered at a time counts after a loss: it was kept, or came after it."""
        kept = loss.b - (self.again if self.forgets else 0.0)
        return at <= kept or at > max(loss.b, loss.a - BACK_SECONDS)


class Lease(NamedTuple):
    """A claim that was answered RUN."""

    id: str
    fence: int
    attempt: int
    lost: int
    started_ms: int
    b: float
    a: float
    who: str


class Written(NamedTuple):
    """The answer of `extend`, `finish` or `release` for one run."""

    id: str
    fence: int
    code: str
    about: str
    b: float
    a: float
    who: str

    @property
    def accepted(self) -> bool:
        """The store took it, now or when it was sent before."""
        return self.code in ("ok", "already", "cancel")


class View:
    """One history."""

    def __init__(self, events: Sequence[h.Known]) -> None:
        self._of: dict[type, list[h.Known]] = defaultdict(list)
        for event in sorted(events, key=lambda event: event.a):
            self._of[type(event)].append(event)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind, by time."""
        return self._of[kind]  # type: ignore[return-value]  # sorted by their type

    # Redis's clock

    def redis_ms(self, at: float) -> float:
        """Return what Redis's clock said at a time of the history."""
        clock = self.of(h.Clock)[0]
        return clock.redis_ms + (at - (clock.b + clock.a) / 2) * 1000

    # What was submitted

    @cached_property
    def submits(self) -> dict[str, h.Submit]:
        """The submits by ID; of one that was repeated, the first."""
        return {event.id: event for event in reversed(self.of(h.Submit))}

    @cached_property
    def outcomes(self) -> dict[str, str]:
        """How the submit of each ID ended: `ok` if any of a repeated one was, `info` if its answer is not known."""
        rank = {"fail": 0, "info": 1, "ok": 2}
        found = dict.fromkeys(self.submits, "")
        for event in self.of(h.Submitted):
            found[event.id] = max(found.get(event.id, ""), event.outcome, key=lambda one: rank.get(one, -1))
        return {task_id: outcome or "info" for task_id, outcome in found.items()}

    @cached_property
    def digests(self) -> dict[str, str]:
        """The digest of each ID's arguments as its first `create` wrote it."""
        return {one.id: one.digest for event in reversed(self.of(h.Created)) for one in event.got}

    @cached_property
    def accepted(self) -> dict[str, float]:
        """When the submit of each ID first returned ok."""
        found: dict[str, float] = {}
        for event in self.of(h.Submitted):
            if event.outcome == "ok":
                found.setdefault(event.id, event.a)
        return found

    @cached_property
    def with_broker(self) -> dict[str, float]:
        """The time from which each ID's message was in the broker, or not needed there (claimed, cancelled)."""
        found: dict[str, float] = {}
        for published in self.of(h.Published):
            if not published.dead:
                _earliest(found, (task_id for task_id, position in published.got if position), published.a)
        for claimed in self.of(h.Claimed):
            _earliest(found, (one.id for one in claimed.got), claimed.b)
        for task_id, at in self.cancels.items():
            _earliest(found, (task_id,), at)
        return found

    # What became of it

    @cached_property
    def leases(self) -> dict[str, list[Lease]]:
        """What was answered RUN, by ID and fence; a claim that was repeated with its nonce counts once."""
        found: dict[str, dict[tuple[int, str], Lease]] = defaultdict(dict)
        for event in self.of(h.Claimed):
            for one in event.got:
                if one.verdict == "run":
                    lease = Lease(one.id, one.fence, one.attempt, one.lost, one.started_ms, event.b, event.a, event.who)
                    found[one.id].setdefault((one.fence, event.nonce), lease)
        return {task_id: sorted(each.values(), key=lambda one: one.fence) for task_id, each in found.items()}

    @cached_property
    def finishes(self) -> dict[str, list[Written]]:
        """The answers of `finish`, by ID and time."""
        return self._written(h.Finished)

    @cached_property
    def extensions(self) -> dict[str, list[Written]]:
        """The answers of `extend`, by ID and time."""
        return self._written(h.Extended)

    @cached_property
    def releases(self) -> dict[str, list[Written]]:
        """The answers of `release`, by ID and time."""
        return self._written(h.Released)

    def _written(self, kind: type[h.Finished | h.Extended | h.Released]) -> dict[str, list[Written]]:
        found: dict[str, list[Written]] = defaultdict(list)
        for event in self.of(kind):
            for one in event.got:
                found[one.id].append(Written(one.id, one.fence, one.code, one.about, event.b, event.a, event.who))
        return found

    @cached_property
    def given_up(self) -> dict[tuple[str, int], float]:
        """When a worker first asked to end or give back a run, by (ID, fence): from then on it may be taken."""
        found: dict[tuple[str, int], float] = {}
        for event in self.of(h.Asked):
            for task_id, fence, _ in event.runs:
                found.setdefault((task_id, fence), event.b)
        return found

    def retried(self, run: h.Started) -> bool:
        """Return whether a run ended with a retry: accepted, or sent in a fault, when the answer may be another's."""
        accepted = any(
            one.fence == run.fence and one.accepted and one.about == "scheduled"
            for one in self.finishes.get(run.id, ())
        )
        sent = self._retries_sent.get((run.id, run.fence), ())
        return accepted or any(fault.b - NEAR < at <= fault.a for at in sent for fault in self.of(h.Fault))

    @cached_property
    def _retries_sent(self) -> dict[tuple[str, int], list[float]]:
        found: dict[tuple[str, int], list[float]] = defaultdict(list)
        for event in self.of(h.Asked):
            for task_id, fence, about in event.runs:
                if about == "scheduled":
                    found[task_id, fence].append(event.b)
        return found

    @cached_property
    def starts(self) -> dict[str, list[h.Started]]:
        """The runs that began, by ID and fence: a zombie may begin later than the run that replaced its own."""
        found: dict[str, list[h.Started]] = defaultdict(list)
        for event in sorted(self.of(h.Started), key=lambda event: event.fence):
            found[event.id].append(event)
        return found

    @cached_property
    def ends(self) -> dict[str, list[Written]]:
        """The finishes that ended their record, by ID and time."""
        found = {
            task_id: [one for one in each if one.accepted and one.about in TERMINAL]
            for task_id, each in self.finishes.items()
        }
        return {task_id: each for task_id, each in found.items() if each}

    @cached_property
    def cancels(self) -> dict[str, float]:
        """When each task was first cancelled, by ID, whether at once or by way of its worker."""
        found: dict[str, float] = {}
        for event in self.of(h.Cancelled):
            _earliest(found, (task_id for task_id, code in event.got if code in ("cancelled", "requested")), event.a)
        return found

    def ended(self, task_id: str) -> list[float]:
        """Return when a task ended, as often as it did; a cancel counts as soon as it was asked for."""
        cancel = self.cancels.get(task_id)
        return [*(end.a for end in self.ends.get(task_id, ())), *([] if cancel is None else [cancel])]

    # The store

    @cached_property
    def losses(self) -> list[h.Fault]:
        """The faults by which the store lost writes."""
        return [fault for fault in self.of(h.Fault) if fault.loses]

    def era(self, b: float, a: float) -> int | None:
        """Return the life of the store in which an event happened; None if that is not certain."""
        era = 0
        for loss in self.losses:
            if b >= loss.a:
                era += 1
            elif a > loss.b:
                return None
        return era

    @property
    def last_era(self) -> int:
        """The life that the store has at the end."""
        return len(self.losses)

    @cached_property
    def final(self) -> h.Freeze | None:
        """The whole store at the end."""
        return next((event for event in reversed(self.of(h.Freeze)) if event.final), None)

    def noticed(self, who: str, at: float) -> int:
        """Return of how many losses of the store a worker had heard long enough ago to have gone back for them."""
        heard = [epochs.b for epochs in self.of(h.Epochs) if epochs.who == who and epochs.a + REWIND_SECONDS <= at]
        return sum(1 for loss in self.losses if any(b >= loss.a for b in heard))

    # The topic

    @cached_property
    def settled(self) -> dict[str, list[float]]:
        """The times at which a process knew that a task's message need not be kept, by ID; sorted."""
        found: dict[str, list[float]] = defaultdict(list)
        for event in self.of(h.Claimed):
            for one in event.got:
                if one.verdict in ("done", "later", "poison", "too_old"):
                    found[one.id].append(event.a)
        for finished in self.of(h.Finished):
            for code in finished.got:
                if code.code in ("ok", "already"):
                    found[code.id].append(finished.a)
        for released in self.of(h.Released):
            for code in released.got:
                if code.about in ("unknown_task", "binding_failed"):
                    found[code.id].append(released.a)
        for left in self.of(h.Left):
            for task_id in left.ids:  # its record keeps the message for a newer worker
                if self.recorded.get(task_id, math.inf) <= left.a:
                    found[task_id].append(left.a)
        return {task_id: sorted(times) for task_id, times in found.items()}

    @cached_property
    def recorded(self) -> dict[str, float]:
        """The time at which each record was first known to exist, by ID."""
        found: dict[str, float] = {}
        for event in self.of(h.Created):
            _earliest(found, (one.id for one in event.got), event.a)
        return found

    @cached_property
    def log(self) -> dict[tuple[str, int], list[h.Stored]]:
        """The topic's messages by queue and partition, as it was first made.

        Messages at offsets that were given a second time after a loss of the log's tail are left out: a consumer beyond
        them does not read them, and the sweep publishes them again.
        """
        found: dict[tuple[str, int], list[h.Stored]] = defaultdict(list)
        reused = [self._given_twice(fault) for fault in self.of(h.Fault) if fault.name == LOG_LOST]
        for message in self.of(h.Topic)[0].messages if self.of(h.Topic) else ():
            if not any(message.offset in each.get(message.partition, ()) for each in reused):
                found[message.queue, message.partition].append(message)
        return found

    def _given_twice(self, fault: h.Fault) -> dict[int, range]:
        """Return by partition what may have been in the log both before and after a loss of its tail."""
        first: dict[int, int] = {}
        ends: dict[int, int] = {}
        for commit in self.of(h.Committing):
            for one in commit.offsets if commit.b < fault.a else ():
                ends[one.partition] = max(one.offset, ends.get(one.partition, 0))
        for published in self.of(h.Published):
            for _, position in published.got if not published.dead else ():
                partition, offset = map(int, position.split(":")) if position else (-1, 0)
                if published.a < fault.a:
                    ends[partition] = max(offset + 1, ends.get(partition, 0))
                if published.a > fault.b:
                    first[partition] = min(offset, first.get(partition, offset))
        return {partition: range(first[partition], end) for partition, end in ends.items() if partition in first}


def _earliest(found: dict[str, float], ids: Iterable[str], at: float) -> None:
    for task_id in ids:
        found[task_id] = min(found.get(task_id, at), at)


class Prefix:
    """For one partition: by when everything below an offset was settled. settled: that of one message's ID."""

    def __init__(self, messages: Sequence[h.Stored], settled: Callable[[str], float]) -> None:
        self._offsets: list[int] = []
        self._latest: list[tuple[float, str]] = []
        latest = (0.0, "")
        for message in sorted(messages, key=lambda message: message.offset):
            if message.id:
                latest = max(latest, (settled(message.id), message.id))
            self._offsets.append(message.offset)
            self._latest.append(latest)

    def below(self, offset: int) -> tuple[float, str]:
        """Return when the last message below this offset was settled (infinity: never), and its ID."""
        index = bisect_right(self._offsets, offset - 1)
        return self._latest[index - 1] if index else (0.0, "")

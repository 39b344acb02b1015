"""A history, sorted out for the checker: what happened to each task, in the order of Redis's clock."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

from msgspec import Struct

from tests.faults import history as h

E = TypeVar("E", bound=h.Event)

TERMINAL = frozenset({"success", "failed", "cancelled"})
SLACK_MS = 50.0
"""Redis's clock is the machine's, which is slewed; and what it says is read a round trip later."""

NEAR = 0.1
"""Seconds: what was sent so shortly before a fault may have lost its answer by it."""


class Rules(Struct, frozen=True, kw_only=True):
    """What the checker must know of a run. Durations are seconds; None: not looked at."""

    lease: float
    lost_limit: int = 3
    gap: float | None = None
    """The longest time without a finish while there is work (I15)."""
    restart: float | None = None
    """The longest time from a worker's fault to the next start of what it ran (I11)."""
    memory: int | None = None
    """The most that a worker's own process may hold, in bytes (I17)."""
    handover: float | None = None
    """The longest time from the exit of a worker that was asked to end to the next start of what it held (I18)."""


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
    """What a worker was answered about one run: by `extend`, `finish` or `release`."""

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
        """How the submit of each ID ended: `ok` if any of a repeated one was, `info` where nothing is known."""
        rank = {"fail": 0, "info": 1, "ok": 2}
        found = dict.fromkeys(self.submits, "")
        for event in self.of(h.Submitted):
            found[event.id] = max(found.get(event.id, ""), event.outcome, key=lambda one: rank.get(one, -1))
        return {task_id: outcome or "info" for task_id, outcome in found.items()}

    @cached_property
    def digests(self) -> dict[str, str]:
        """The digest of each ID's arguments as its first `create` wrote it."""
        return {one.id: one.digest for event in reversed(self.of(h.Created)) for one in event.got}

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

    # The store

    @cached_property
    def losses(self) -> list[h.Fault]:
        """The faults by which the store lost writes."""
        return [fault for fault in self.of(h.Fault) if fault.loses]

    def era(self, b: float, a: float) -> int | None:
        """Return in which life of the store something happened; None where that cannot be told."""
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
        """All that stood in the store at the end."""
        return next((event for event in reversed(self.of(h.Freeze)) if event.final), None)

    # The topic

    @cached_property
    def settled(self) -> dict[str, float]:
        """When somebody first knew that a task's message need not be kept, by ID."""
        found: dict[str, float] = {}

        def settle(ids: Iterable[str], at: float) -> None:
            for task_id in ids:
                found[task_id] = min(found.get(task_id, at), at)

        for event in self.of(h.Claimed):
            settle((one.id for one in event.got if one.verdict in ("done", "later", "poison", "too_old")), event.a)
        for finished in self.of(h.Finished):
            settle((one.id for one in finished.got if one.code in ("ok", "already")), finished.a)
        for released in self.of(h.Released):
            settle((one.id for one in released.got if one.about == "unknown_task"), released.a)
        return found


class Prefix:
    """For one partition: by when everything below an offset was settled."""

    def __init__(self, messages: Sequence[h.Stored], settled: dict[str, float]) -> None:
        self._offsets: list[int] = []
        self._latest: list[tuple[float, str]] = []
        latest = (0.0, "")
        for message in sorted(messages, key=lambda message: message.offset):
            if message.id:
                latest = max(latest, (settled.get(message.id, float("inf")), message.id))
            self._offsets.append(message.offset)
            self._latest.append(latest)

    def below(self, offset: int) -> tuple[float, str]:
        """Return when the last message below this offset was settled (infinity: never), and its ID."""
        index = bisect_right(self._offsets, offset - 1)
        return self._latest[index - 1] if index else (0.0, "")

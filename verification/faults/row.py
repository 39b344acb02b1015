"""A row of the fault matrix: its fault, the rules that must hold, and the code that runs it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import SubprocessError

import redis
from kafka.errors import KafkaError
from msgspec import Struct

from verification.faults import history as h
from verification.faults.checker import check
from verification.faults.recovery import restarts
from verification.faults.scene import NotAtRest, Scene
from verification.faults.stage import Stage
from verification.faults.view import Rules, View
from yadtq_core.errors import YadtqError

_TROUBLES = (NotAtRest, AssertionError, YadtqError, KafkaError, redis.RedisError, OSError, SubprocessError)
"""What ends a row, and no other."""


class Skip(Exception):
    """A requirement of the row is missing on this machine."""


class Row(Struct, frozen=True, kw_only=True):
    """One row.

    play: breaks things, while its clients submit; its docstring's first line is the row's title. heal: how long
    (seconds) all may take to come to rest after that. own_store: the row starts another Valkey: `aof`, or `none` for
    one that writes nothing to disk. forgets: where the store loses anything, it loses everything. gap, restart,
    handover: of the checker's rules, in leases.
    """

    id: str
    play: Callable[[Scene], None]
    lease: float = 3.0
    heal: float = 150.0
    own_store: str = ""
    forgets: bool = False
    gap: float | None = None
    restart: float | None = None
    handover: float | None = None

    @property
    def title(self) -> str:
        """What is broken, in one line."""
        return (self.play.__doc__ or "").strip().partition("\n")[0].rstrip(".")

    def rules(self) -> Rules:
        """Return what the checker must know."""

        def seconds(leases: float | None) -> float | None:
            return None if leases is None else leases * self.lease

        return Rules(
            lease=self.lease,
            forgets=self.forgets,
            gap=seconds(self.gap),
            restart=seconds(self.restart),
            handover=seconds(self.handover),
            memory=400_000_000,
        )


class Result(Struct, frozen=True, kw_only=True):
    """What came of a row. Recovery is in seconds: from a worker's fault to the next start of what it ran, and from a
    service's return to the end of each task that waited for it."""

    id: str
    title: str
    tasks: int = 0
    accepted: int = 0
    repeats: int = 0
    recovery: tuple[float, ...] = ()
    said: dict[str, list[str]] = {}
    trouble: str = ""
    skipped: str = ""
    seconds: float = 0.0
    history: str = ""
    peer: str = "yadtq"

    @property
    def good(self) -> bool:
        """Nothing is said against it."""
        return not self.said and not self.trouble

    @property
    def word(self) -> str:
        """The checker's word."""
        if self.skipped:
            return f"skipped: {self.skipped}"
        parts = [self.trouble] if self.trouble else []
        parts += [f"{name}: {sentences[0]} ({len(sentences)})" for name, sentences in self.said.items()]
        return "; ".join(parts) or "all hold"

    @property
    def p50(self) -> float | None:
        """The median recovery."""
        return statistics.median(self.recovery) if self.recovery else None


def run(row: Row, stage: Stage, folder: Path, *, tasks: int, outage: float) -> Result:
    """Play one row on the stage and return what came of it; leaves no process, and the stage whole."""
    began = time.monotonic()
    folder.mkdir(parents=True)
    try:
        with _store_of(row, stage, folder) as its_stage:
            scene = Scene(its_stage, folder, tasks=tasks, lease=row.lease, outage=outage)
            trouble = _played(row, scene)
    except Skip as skip:
        return Result(id=row.id, title=row.title, skipped=str(skip))
    return told(row, h.read(scene.file)[0], trouble, time.monotonic() - began, scene.file)


def _played(row: Row, scene: Scene) -> str:
    """Play a row to its end; return what kept it from going as it should, in one line, empty if nothing did."""
    trouble = ""
    try:
        try:
            row.play(scene)
            scene.come_to_rest(row.heal)
        except _TROUBLES as error:
            trouble = _in_a_line(error)
        scene.stage.heal()
        scene.last_look()
    except _TROUBLES as error:
        trouble = trouble or _in_a_line(error)
    finally:
        scene.close()
    return trouble


def _in_a_line(error: Exception) -> str:
    """Return an error's kind, and its last words: a log ends with what matters."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[-300:]}"


@contextmanager
def _store_of(row: Row, stage: Stage, folder: Path) -> Iterator[Stage]:
    if not row.own_store:
        yield stage
        return
    with Stage(folder / "stage", aof=row.own_store == "aof", kafka=stage) as own:
        yield own


def told(row: Row, events: Sequence[h.Known], trouble: str, seconds: float, file: Path) -> Result:
    """Return the result of a row, from its history."""
    view = View(events)
    return Result(
        id=row.id,
        title=row.title,
        tasks=len(view.submits),
        accepted=sum(1 for outcome in view.outcomes.values() if outcome == "ok"),
        repeats=repeats(view),
        recovery=tuple(recovery(view)),
        said=check(events, row.rules()),
        trouble=trouble,
        seconds=seconds,
        history=str(file),
    )


def repeats(view: View) -> int:
    """Return how many runs there were more than tasks and retries ask for."""
    return sum(not view.retried(before) for starts in view.starts.values() for before in starts[:-1])


def recovery(view: View) -> list[float]:
    """Return the recoveries of workers' and services' faults. After two outages, a task counts for the last."""
    found = [seconds for _, seconds in restarts(view)]
    faults = [fault for fault in view.of(h.Fault) if fault.since == "a"]
    for number, fault in enumerate(faults):
        until = faults[number + 1].b if number + 1 < len(faults) else float("inf")
        for task_id, submit in view.submits.items():
            ends = [end.a for end in view.ends.get(task_id, ())]
            if submit.b < fault.a and ends and fault.a < ends[0] <= until:
                found.append(ends[0] - fault.a)
    return sorted(found)

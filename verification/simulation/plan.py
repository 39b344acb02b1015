"""What will happen in one history, all of it drawn from its seed before it begins."""

from __future__ import annotations

import random
from typing import NamedTuple

from yadtq_core.model import Partition
from yadtq_core.settings import KEPT_LEASES

TASKS = ("common", "rare")
"""`rare` is unknown to some workers."""
QUEUES = ("default", "other")


class TaskPlan(NamedTuple):
    """One submit: time (seconds), task, and the course of its runs. `fails`: failed runs before the first success."""

    at: float
    id: str
    task: str
    queue: str
    numbers: tuple[int, ...]
    seconds: float
    fails: int
    retries: int
    delay: float
    minds_cancel: bool
    kills: str
    """What a run of it kills, instead of ending: `child`, `worker`, or nothing."""
    cancelled_at: float | None
    again_at: float | None
    """Time of a repeated submit."""
    other_at: float | None
    """When the same ID comes with other arguments."""


class PlannedFault(NamedTuple):
    """Something that goes wrong: when, what, for how long, and two numbers from 0 to 1 that say what else."""

    at: float
    kind: str
    seconds: float
    x: float
    y: float


class WorkerPlan(NamedTuple):
    """One worker."""

    name: str
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    children: int
    threads: int


class Plan(NamedTuple):
    """One history."""

    seed: int
    theme: str
    workers: tuple[WorkerPlan, ...]
    tasks: tuple[TaskPlan, ...]
    faults: tuple[PlannedFault, ...]
    partitions: tuple[Partition, ...]
    shards: int
    lease: float
    publish_grace: float
    lost_limit: int
    result_ttl: float
    unknown_task_ttl: float
    session: float
    """A member that is silent for this many seconds is removed from the group; leases may be shorter or longer."""
    metadata: int
    """Characters of metadata that Kafka keeps of a commit. A few histories have room for two or three open offsets."""
    confirm: str
    ends_at: float
    """When everything is well again."""


THEMES = (
    # (name, weight, kinds of faults)
    ("calm", 3, ()),
    ("workers", 5, ("crash", "pause", "pause parent", "zombie", "zombie", "child", "stop", "join")),
    ("replies", 4, ("store loss", "store loss", "kafka loss", "late burst", "crash")),
    ("store away", 3, ("store away", "store cut", "store restart", "pause")),
    ("kafka away", 3, ("kafka away", "kafka cut", "kafka loss", "join", "stop", "crash", "crash")),
    ("copies", 3, ("copies", "copies", "crash", "store loss", "pause")),
    ("poison", 3, ("crash", "pause")),
    ("client", 2, ("client dies", "client dies", "kafka away", "store loss")),
    ("last second", 6, ("last second", "last second", "lost twice", "crash", "pause", "join")),
    ("flush", 4, ("flush", "flush", "crash", "pause", "copies")),
    ("rebuilt", 5, ("flush and last second",)),
    ("long loss", 6, ("last second",)),
    ("lost twice", 4, ("lost twice",)),
    ("long absence", 6, ("absence",)),
    ("retention", 4, ("retention", "retention", "kafka away", "crash", "pause", "join")),
    ("zombies", 3, ("zombie", "zombie", "zombie", "pause parent")),
    ("no longer wanted", 3, ("child", "stop", "crash", "pause", "zombie")),
    ("once more", 4, ("kafka away", "kafka away", "client dies", "flush", "crash")),
    ("everything", 8, (
        "crash", "pause", "pause parent", "zombie", "child", "stop", "join", "store loss", "kafka loss", "store away",
        "store cut", "store restart", "kafka away", "kafka cut", "copies", "client dies", "last second", "flush",
        "junk", "twin", "lost twice", "retention",
    )),
)  # fmt: skip


class Mix(NamedTuple):
    """The tasks of a theme: the chance of each kind. deadly: kills its child or its worker."""

    rare: float = 0.15
    long: float = 0.15
    deadly: float = 0.0
    cancelled: float = 0.12
    again: float = 0.1
    other: float = 0.05


MIXES = {
    "calm": Mix(rare=0.0, cancelled=0.0),
    "replies": Mix(rare=0.5),
    "poison": Mix(deadly=0.2),
    "everything": Mix(deadly=0.2),
    "retention": Mix(long=0.6),
    "zombies": Mix(long=0.6),
    "no longer wanted": Mix(long=0.5, deadly=0.1, cancelled=0.6),
    "once more": Mix(long=0.6, again=0.8, other=0.1),
}
"""Of themes whose tasks are not like those of the others."""

ONE_FAULT = ("rebuilt", "long loss", "lost twice", "long absence")
"""Themes in which nothing else goes wrong than one loss of a kind."""


def task_id(number: int) -> str:
    """Return the ID of the n-th task; the last digits tell it in a history."""
    return f"00000000-0000-4000-8000-{number:012d}"


def plan_of(seed: int) -> Plan:
    """Return the history of a seed."""
    rng = random.Random(f"yadtq {seed}")
    theme, _, kinds = rng.choices(THEMES, [weight for _, weight, _ in THEMES])[0]
    busy = rng.uniform(4.0, 10.0)
    lease = rng.choice((2.0, 3.0, 3.0))
    queues = QUEUES if rng.random() < 0.4 else QUEUES[:1]
    shards = 2 if rng.random() < 0.15 else 1
    short_lived = lease * rng.uniform(KEPT_LEASES, 2 * KEPT_LEASES)
    absent = theme == "long absence"
    return Plan(
        seed=seed,
        theme=theme,
        workers=_workers(rng, queues, 0.2 if theme == "replies" else 0.7),
        tasks=_tasks(rng, queues, busy, lease, MIXES.get(theme, Mix())),
        faults=_faults(rng, kinds, busy, once=theme in ONE_FAULT),
        partitions=tuple(Partition(queue, number) for queue in queues for number in range(2 * shards)),
        shards=shards,
        lease=lease,
        publish_grace=rng.choice((1.0, 2.0)),
        lost_limit=rng.choice((1, 3, 3)),
        result_ttl=short_lived if absent or rng.random() < 0.25 else 86400.0,
        unknown_task_ttl=rng.choice((12.0, 86400.0)),
        session=rng.choice((2.0, 2.0, 6.0)),
        metadata=43 if seed % 3 == 0 else 4096,
        confirm="record"
        if theme not in ("flush", "last second", "once more", "everything", *ONE_FAULT) and rng.random() < 0.2
        else "broker",
        ends_at=busy + 3.0 + (short_lived if absent else 0.0),
    )


def _workers(rng: random.Random, queues: tuple[str, ...], knowing: float) -> tuple[WorkerPlan, ...]:
    workers = [WorkerPlan("w1", queues, TASKS, 1, rng.choice((1, 2)))]
    for number in range(2, rng.choice((3, 3, 4)) + 1):
        served = queues if rng.random() < 0.6 else (rng.choice(queues),)
        known = TASKS if rng.random() < knowing else TASKS[:1]
        workers.append(WorkerPlan(f"w{number}", served, known, rng.choice((1, 2)), rng.choice((1, 1, 2))))
    return tuple(workers)


def _tasks(rng: random.Random, queues: tuple[str, ...], busy: float, lease: float, mix: Mix) -> tuple[TaskPlan, ...]:
    tasks = []
    for number in range(rng.choice((6, 12, 20, 30))):
        at = rng.uniform(0.0, busy * 0.8)
        long = lease * rng.uniform(1.0, 2.0) if rng.random() < mix.long else rng.uniform(0.01, 0.8)
        fails = rng.choice((0, 0, 0, 1, 2, 3))
        tasks.append(
            TaskPlan(
                at=at,
                id=task_id(number),
                task="rare" if rng.random() < mix.rare else "common",
                queue=rng.choice(queues),
                numbers=tuple(rng.randrange(1000) for _ in range(3)),
                seconds=long,
                fails=fails,
                retries=rng.choice((fails, fails, 0, 1, 4)),
                delay=rng.uniform(0.1, 4.0) if rng.random() < 0.1 else 0.0,
                minds_cancel=rng.random() < 0.5,
                kills=rng.choice(("child", "worker")) if rng.random() < mix.deadly else "",
                cancelled_at=at + rng.uniform(0.0, 3.0) if rng.random() < mix.cancelled else None,
                again_at=at + rng.uniform(0.0, 5.0) if rng.random() < mix.again else None,
                other_at=at + rng.uniform(0.1, 5.0) if rng.random() < mix.other else None,
            )
        )
    return tuple(sorted(tasks))


def _faults(rng: random.Random, kinds: tuple[str, ...], busy: float, *, once: bool) -> tuple[PlannedFault, ...]:
    if not kinds:
        return ()
    count = 1 if once else rng.choice((1, 2, 3, 5, 8))
    return tuple(
        sorted(
            PlannedFault(
                rng.uniform(0.3, busy),
                rng.choice(kinds),
                rng.choice((0.2, 1.0, 2.5, 5.0)) * rng.uniform(0.5, 1.2),
                rng.random(),
                rng.random(),
            )
            for _ in range(count)
        )
    )

"""The sweeper on the memory backend: publishing again, leaving records to other workers, and dead letters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar, cast

import pytest
from msgspec import structs

from verification import wire_version2
from yadtq_core.backends.memory import MemoryStore
from yadtq_core.errors import BackendUnavailable
from yadtq_core.interfaces import Broker, Outgoing
from yadtq_core.model import Delivery, Partition, ReleaseReason, Status, Unreadable, WorkerStats
from yadtq_core.plugin import load_plugins
from yadtq_core.records import StoreBackend
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import STATS, BackendBed, given_back, worker
from yadtq_core.worker.assembly import Assembly
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor

KNOWS = structs.replace(STATS, tasks=("strange",))


class Clock:
    """A clock that the test moves."""

    seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Children:
    """An executor with two free slots that knows `add` alone."""

    tasks = frozenset({"add"})
    unbound: ClassVar[dict[str, str]] = {}
    free = 2
    ready = True
    room = 1


class Sent:
    """A publication of `count` messages, acknowledged at once or not at all."""

    def __init__(self, positions: list[str | None]) -> None:
        self._positions = positions
        self.errors: dict[int, str] = {}

    def wait(self, timeout: float) -> Sequence[str | None]:
        return self._positions


class Post:
    """A broker that delivers no old message again and notes each publish. `pending`: unacknowledged messages."""

    replayable = True

    def __init__(self) -> None:
        self.published: list[str] = []
        self.letters: list[str] = []
        self.delivers = False
        self.silent = False
        self.pending = 0

    def unacknowledged(self) -> int:
        return self.pending

    def undeliverable(self, places: Sequence[tuple[str, str]]) -> Sequence[bool]:
        return [not self.delivers for _ in places]

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Sent:
        self.published += [message.id for message in messages]
        return self._sent(messages)

    def publish_dead(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Sent:
        self.letters += [message.id for message in messages]
        return self._sent(messages)

    def _sent(self, messages: Sequence[Outgoing]) -> Sent:
        return Sent([None if self.silent else "0:9" for _ in messages])


class Scene:
    """A worker that does not know `strange`; others say what they have in their heartbeats."""

    def __init__(self) -> None:
        self.clock = Clock()
        store = MemoryStore(self.clock)
        self.bed = BackendBed(lambda **given: StoreBackend(store, Settings(**given)))
        self.post = Post()
        me = self.bed.worker
        self.parts = Assembly(
            Settings(),
            me,
            cast(Broker, self.post),
            self.bed.backend,
            executor=cast(Executor, Children()),
            events=Events(load_plugins(), me),
        )
        self.parts.keeper.beat_answered(time.monotonic(), time.monotonic())
        self.sweeper = self.parts.sweeper_thread

    def strange(self, *, confirmed: bool = True) -> Delivery:
        """Submit a task unknown here."""
        one = self.bed.submit(task="strange")[0]
        if confirmed:
            self.bed.backend.confirm([(one.message.id, "0:7")])
        return one

    def given_up(self) -> Delivery:
        """Submit one and let a worker that does not know it leave it to others, to be looked at at once."""
        one = self.strange()
        answer = self.bed.run(one, worker=worker("ignorant"))
        self.bed.backend.release([given_back(one.message.id, answer, ReleaseReason.UNKNOWN_TASK)], self.bed.worker)
        return one

    def swept(self) -> list[str]:
        """Return what a sweep publishes."""
        self.clock.seconds += 0.001
        self.sweeper._sweep()
        return self.post.published


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_task_unknown_here_is_left_to_a_worker_that_has_it_and_a_slot_free(scene: Scene) -> None:
    one = scene.given_up()
    scene.bed.backend.heartbeat(worker("knowing"), KNOWS, ())
    assert scene.swept() == []
    assert scene.bed.record(one).status is Status.QUEUED
    assert [due.id for due in scene.bed.backend.sweep(9, 9)[1]] == [one.message.id]


@pytest.mark.parametrize(
    "stats",
    [STATS, structs.replace(KNOWS, free=0), structs.replace(KNOWS, queues=("elsewhere",))],
    ids=["knows it not", "is busy", "serves other queues"],
)
def test_a_task_that_no_other_worker_can_take_is_published_again(scene: Scene, stats: WorkerStats) -> None:
    one = scene.given_up()
    scene.bed.backend.heartbeat(worker("other"), stats, ())
    assert scene.swept() == [one.message.id]


def test_the_row_of_this_worker_is_no_other_worker(scene: Scene) -> None:
    one = scene.given_up()
    scene.bed.backend.heartbeat(scene.bed.worker, KNOWS, ())
    assert scene.swept() == [one.message.id]


def test_a_deliverable_message_doubles_the_queue_check_of_its_record(scene: Scene) -> None:
    scene.strange()
    scene.post.delivers = True
    scene.clock.seconds += 61.0
    scene.bed.backend.heartbeat(worker("knowing"), KNOWS, ())
    assert scene.swept() == []
    scene.clock.seconds += 100.0
    assert scene.bed.backend.sweep(9, 9)[1] == []
    scene.clock.seconds += 21.0
    assert len(scene.bed.backend.sweep(9, 9)[1]) == 1


def test_a_record_without_a_message_is_published_by_any_worker(scene: Scene) -> None:
    one = scene.strange(confirmed=False)
    scene.bed.backend.heartbeat(worker("knowing"), KNOWS, ())
    scene.clock.seconds += 11.0
    scene.bed.backend.heartbeat(worker("knowing"), KNOWS, ())
    assert scene.swept() == [one.message.id]


@pytest.mark.parametrize(("stats", "least"), [(KNOWS, 0.0), (structs.replace(KNOWS, free=0), 5.0)])
def test_an_unknown_task_waits_only_if_no_other_worker_can_take_it(
    scene: Scene, stats: WorkerStats, least: float
) -> None:
    one = scene.strange()
    scene.bed.backend.heartbeat(worker("other"), stats, ())
    assert scene.sweeper.claimer.claim([one])
    record = scene.bed.record(one)
    assert record.status is Status.SCHEDULED
    assert record.due_at is not None
    assert record.due_at - scene.clock.seconds == pytest.approx(least, abs=0.01)


def test_a_failed_task_whose_message_is_of_a_newer_version_has_its_dead_letter(scene: Scene) -> None:
    with wire_version2.installed():
        one = scene.strange()
        scene.bed.fail(one)
    scene.swept()
    assert scene.post.letters == [one.message.id]
    assert scene.bed.backend.messages([one.message.id]) == [None]


def test_a_failure_is_closed_after_its_dead_letter_is_acknowledged(scene: Scene) -> None:
    one = scene.strange()
    scene.bed.fail(one)
    scene.post.silent = True
    scene.swept()
    assert scene.bed.backend.messages([one.message.id])[0] is not None
    scene.clock.seconds += 11.0
    scene.post.silent = False
    scene.swept()
    assert scene.post.letters == [one.message.id] * 2
    assert scene.bed.backend.messages([one.message.id]) == [None]
    scene.clock.seconds += 11.0
    scene.swept()
    assert len(scene.post.letters) == 2


def test_nothing_is_published_while_messages_are_unacknowledged(scene: Scene) -> None:
    unpublished, failed = scene.strange(confirmed=False), scene.strange()
    scene.bed.fail(failed)
    scene.clock.seconds += 11.0
    scene.post.pending = 1
    scene.swept()
    assert (scene.post.published, scene.post.letters) == ([], [])
    scene.clock.seconds += 11.0
    scene.post.pending = 0
    scene.swept()
    assert (scene.post.published, scene.post.letters) == ([unpublished.message.id], [failed.message.id])


def test_unreadable_messages_are_dead_lettered_also_after_a_sweep_that_failed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise BackendUnavailable("one shard does not answer")

    monkeypatch.setattr(scene.sweeper.backend, "sweep", fail)
    scene.sweeper.unreadable.add([Unreadable(b"?", Partition("default", 0), 7, "malformed")])
    scene.sweeper.sweeps.request()
    scene.sweeper._pass()
    assert scene.post.letters == ["0:7"]

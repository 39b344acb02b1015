"""The sweeper on the memory backend: ready records, dead letters, and unknown tasks that other workers have."""

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
from yadtq_core.model import Delivery, Partition, Status, Unreadable, WorkerStats
from yadtq_core.plugin import load_plugins
from yadtq_core.records import StoreBackend
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import STATS, BackendBed, worker
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
    """A broker that notes each dead letter. `pending`: unacknowledged messages."""

    replayable = True

    def __init__(self) -> None:
        self.letters: list[str] = []
        self.silent = False
        self.pending = 0

    def unacknowledged(self) -> int:
        return self.pending

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Sent:
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

    def strange(self) -> Delivery:
        """Submit a task unknown here."""
        return self.bed.submit(task="strange")[0]

    def swept(self) -> int:
        """Sweep; return how many records intake has heard of as ready."""
        self.clock.seconds += 0.001
        self.sweeper._sweep()
        return self.parts.intake._intake.lanes.ready

    def taken(self) -> list[str]:
        """Return the tasks that intake takes from the store."""
        return [one.message.task for one in self.parts.intake_thread._take({"default": 9})]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_record_without_a_message_is_ready_after_the_publish_grace(scene: Scene) -> None:
    scene.bed.submit(2)
    assert scene.swept() == 0
    scene.clock.seconds += 11.0
    assert scene.swept() == 2
    assert scene.taken() == ["add", "add"]
    assert scene.parts.intake._intake.lanes.ready == 0


def test_a_ready_task_unknown_here_is_left_to_a_worker_that_has_it(scene: Scene) -> None:
    scene.strange()
    scene.bed.submit()
    scene.clock.seconds += 11.0
    scene.bed.backend.heartbeat(worker("knowing"), KNOWS, ())
    assert scene.swept() == 2
    assert scene.taken() == ["add"]


@pytest.mark.parametrize("own", [False, True], ids=["no worker has it", "the row of this worker does not count"])
def test_a_ready_task_that_no_other_worker_has_is_taken_and_claimed(scene: Scene, own: bool) -> None:
    scene.strange()
    scene.clock.seconds += 11.0
    scene.bed.backend.heartbeat(scene.bed.worker if own else worker("other"), KNOWS if own else STATS, ())
    scene.swept()
    assert scene.taken() == ["strange"]


@pytest.mark.parametrize(("stats", "status"), [(KNOWS, Status.QUEUED), (STATS, Status.SCHEDULED)])
def test_an_unknown_task_waits_only_if_no_other_worker_has_it(scene: Scene, stats: WorkerStats, status: Status) -> None:
    one = scene.strange()
    scene.bed.backend.heartbeat(worker("other"), stats, ())
    assert scene.parts.intake_thread.claimer.claim([one])
    assert scene.bed.record(one).status is status


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
    failed = scene.strange()
    scene.bed.fail(failed)
    scene.clock.seconds += 11.0
    scene.post.pending = 1
    scene.swept()
    assert scene.post.letters == []
    scene.clock.seconds += 11.0
    scene.post.pending = 0
    scene.swept()
    assert scene.post.letters == [failed.message.id]


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

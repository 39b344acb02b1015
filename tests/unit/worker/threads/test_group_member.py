"""The worker in the consumer group: when it joins and leaves, and in which order a gained partition is taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from msgspec import Raw, structs

from yadtq_core.errors import BrokerUnavailable
from yadtq_core.interfaces import Broker, ReplayableConsumer
from yadtq_core.model import Delivery, Epoch, Message, Partition, Place, Unreadable, WorkerIdentity, WorkerRow
from yadtq_core.testing.contracts.backend_bed import STATS
from yadtq_core.worker.peers import Peers
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.rules.keeper import Keeper
from yadtq_core.worker.shared import GuardedIntake, Outages
from yadtq_core.worker.threads.group_member import GroupMember

P0 = Partition("default", 0)
LEASE = 30.0


class Consumer:
    """A consumer, and the broker that gives it out. It records its calls in order; with `away` set it fails."""

    replayable = True

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.gained: frozenset[Partition] = frozenset()
        self.metadata = ""
        self.since: int | None = None
        self.away = False

    def consumer(self, queues: Sequence[str], *, member: str) -> ReplayableConsumer:
        if self.away:
            raise BrokerUnavailable("away")
        self.calls.append(("join", member))
        return self

    def changes(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        gained, self.gained = self.gained, frozenset()
        return gained, frozenset()

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, tuple[int, str]]:
        if self.away:
            raise BrokerUnavailable("away")
        return dict.fromkeys(partitions, (7, self.metadata))

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        return {}

    def offset_at(self, partition: Partition, time_ms: int) -> int | None:
        return self.since

    def seek(self, partition: Partition, offset: int) -> None:
        self.calls.append(("seek", offset))

    def pause(self, partitions: Sequence[Partition]) -> None:
        self.calls.append(("pause", *partitions))

    def resume(self, partitions: Sequence[Partition]) -> None:
        self.calls.append(("resume", *partitions))

    def commit(self, offsets: Mapping[Partition, tuple[int, str]]) -> None:
        self.calls.append(("commit", {partition: offset for partition, (offset, _) in offsets.items()}))

    def position(self, partition: Partition) -> int | None:
        return None

    def poll(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        self.calls.append(("poll", max_messages))
        return []

    def settle(self, places: Sequence[Place]) -> None:
        self.calls.append(("settle", *places))

    def close(self, timeout: float) -> None:
        self.calls.append(("leave",))


class Scene:
    """A member whose backend has just answered in epoch `e2`."""

    def __init__(self) -> None:
        self.consumer = Consumer()
        self.intake = Intake()
        self.keeper = Keeper(LEASE, 0.0)
        self.member = GroupMember(
            broker=cast(Broker, self.consumer),
            queues=["default"],
            identity=WorkerIdentity("w1", "i1", "host", 1, 0.0),
            intake=GuardedIntake(self.intake),
            keeper=self.keeper,
            peers=cast(Peers, self),
            outages=Outages(),
        )
        self.rows: list[WorkerRow] = []
        self.keeper.beat_answered(0.0, 0.0)
        self.intake.beat((Epoch("e2", 9000),))

    def online(self) -> list[WorkerRow]:
        return self.rows

    def peer(self, **given: Any) -> None:
        """Let a peer say so in its heartbeat."""
        stats = structs.replace(STATS, **given)
        self.rows.append(WorkerRow(WorkerIdentity("w2", "i2", "host", 2, 0.0), stats, 0.0, online=True))

    def full(self, until: float) -> list[bool]:
        """Let a message wait while no slot is free; return for each second whether the worker is in the group."""
        self.follow()
        message = Message(v=1, id="id7", task="add", arguments=Raw(b"[[],{}]"))
        self.intake.polled([Delivery(message, b"", P0, 7)], 0.0)
        found = []
        for second in range(int(until)):
            self.keeper.beat_answered(second, second)
            found.append(self.member.in_group(0, float(second)))
        return found

    def follow(self) -> list[tuple[object, ...]]:
        """Return the calls that an assignment of partition 0 makes."""
        assert self.member.in_group(1, 0.0)
        self.consumer.gained = frozenset({P0})
        self.consumer.calls.clear()
        self.member.follow_assignment()
        return self.consumer.calls


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_it_joins_when_the_backend_answers_and_leaves_after_a_lease_of_silence(scene: Scene) -> None:
    assert scene.member.in_group(1, LEASE / 2 - 1)
    assert scene.member.in_group(1, LEASE - 1)
    assert not scene.member.in_group(1, LEASE)
    assert scene.consumer.calls == [("join", "w1"), ("leave",)]
    assert not scene.member.in_group(1, LEASE + 1)


def test_an_outage_of_the_broker_is_logged_and_the_worker_joins_later(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.consumer.away = True
    assert not scene.member.in_group(1, 0.0)
    assert "the broker is away: away" in caplog.text
    scene.consumer.away = False
    assert scene.member.in_group(1, 1.0)


def test_a_gained_partition_of_this_epoch_is_resumed(scene: Scene) -> None:
    scene.consumer.metadata = "1 e2 9000 5"
    assert scene.follow() == [("resume", P0)]


@pytest.mark.parametrize(("since", "offset"), [(3, 3), (6, 5), (None, 5)])
def test_a_partition_of_another_epoch_is_rewound_before_it_is_resumed(
    scene: Scene, since: int | None, offset: int
) -> None:
    """From the safe offset, 5, or from the first message that the backend may have lost, if that is lower."""
    scene.consumer.metadata = "1 e1 8000 5"
    scene.consumer.since = since
    assert scene.follow() == [("pause", P0), ("seek", offset), ("resume", P0)]


def test_a_gained_partition_stays_paused_until_its_committed_offset_was_read(scene: Scene) -> None:
    scene.consumer.metadata = "1 e2 9000 5"
    assert scene.member.in_group(1, 0.0)
    scene.consumer.away = True
    assert scene.follow() == []
    scene.consumer.away = False
    scene.member.follow_assignment()
    assert scene.consumer.calls == [("resume", P0)]


def test_a_full_worker_polls_for_no_message(scene: Scene) -> None:
    scene.follow()
    scene.consumer.calls.clear()
    scene.member.poll(0, 0.0)
    assert scene.consumer.calls == [("poll", 0)]


def test_it_commits_before_it_leaves_and_forgets_its_partitions(scene: Scene) -> None:
    scene.follow()
    message = Message(v=1, id="id7", task="add", arguments=Raw(b"[[],{}]"))
    scene.intake.polled([Delivery(message, b"", P0, 7)], 0.0)
    scene.intake.done(P0, 7)
    scene.consumer.calls.clear()
    scene.member.leave()
    assert scene.consumer.calls == [("commit", {P0: 8}), ("leave",)]
    assert scene.intake.partitions() == []
    scene.member.leave()
    assert scene.consumer.calls[2:] == []


def test_a_full_worker_leaves_the_group_after_three_seconds_if_a_peer_can_do_its_work(scene: Scene) -> None:
    scene.peer(free=2, queues=("default",), tasks=("add",))
    assert scene.full(6) == [True, True, True, True, False, False]
    assert scene.consumer.calls[-1] == ("leave",)


@pytest.mark.parametrize(
    "peer",
    [None, {"free": 0}, {"queues": ("other",)}, {"tasks": ("sub",)}],
    ids=["alone", "is full too", "serves another queue", "lacks the task"],
)
def test_a_full_worker_stays_if_no_peer_can_do_its_work(scene: Scene, peer: dict[str, Any] | None) -> None:
    if peer is not None:
        scene.peer(**{"free": 2, "queues": ("default",), "tasks": ("add",), **peer})
    assert scene.full(9) == [True] * 9


def test_it_joins_again_after_a_second_with_a_free_slot_and_leaves_again_half_a_minute_later(scene: Scene) -> None:
    scene.peer(free=2, queues=("default",), tasks=("add",))
    scene.full(6)
    found = []
    for second in range(6, 50):
        scene.keeper.beat_answered(second, second)
        if scene.member.in_group(1 if second in (6, 7) else 0, float(second)) and second == 7:
            scene.full(0)
        found.append(scene.member._consumer is not None)
    assert found.index(True) == 1, "at 7, after a second with a free slot"
    assert 35 - 6 - 1 <= found.index(False, 1) <= 36 - 6, "30 s after it left at 4"

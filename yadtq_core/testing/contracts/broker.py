"""The promises of every broker (`interfaces.Broker`, `Consumer`, `ReplayableConsumer`), as tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from msgspec import structs

from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused
from yadtq_core.interfaces import Broker, ReplayableConsumer
from yadtq_core.model import Level, Outgoing, Partition, new_id
from yadtq_core.plugin.loading import open_broker
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.broker_bed import (
    CLOSE_SECONDS,
    BrokerBed,
    Member,
    message,
    messages,
    now_ms,
    publish,
    step_until,
)
from yadtq_core.testing.waiting import wait_until

LEASE = 0.4
"""Seconds; a broker that is not replayable gives a dead consumer's messages to another after a lease."""


class BrokerContract:
    """The promises of the seam as tests: subclass it and give it the fixture `settings` of your broker.

        class TestMyBroker(BrokerContract):
            @pytest.fixture
            def settings(self, namespace):
                return Settings(broker="mine://localhost", backend="redis://localhost", namespace=namespace)

    Each test needs a namespace without any queue. The tests for `replayable` brokers are skipped for others, and the
    other way round. `unreachable`, if given, are settings of an address where no broker answers.
    """

    @pytest.fixture
    def settings(self) -> Settings:
        """The settings of a new namespace; a subclass must override it."""
        raise NotImplementedError("give your contract class a fixture `settings`")

    @pytest.fixture
    def unreachable(self) -> Settings | None:
        """Settings of an address where no broker answers; None skips the test."""
        return None

    def open(self, settings: Settings) -> Broker:
        """Open a broker by its scheme; a subclass may open it otherwise."""
        return open_broker(settings)

    @pytest.fixture
    def bed(self, settings: Settings) -> Iterator[BrokerBed]:
        """The namespace of one test."""
        made = BrokerBed(lambda: self.open(settings))
        yield made
        made.close()

    # Queues

    def test_a_missing_queue_is_refused_at_once_with_its_remedy(self, settings: Settings) -> None:
        broker = self.open(settings)
        began = time.monotonic()
        with pytest.raises(ConfigurationRefused, match="provision"):
            broker.ensure(["default"], create=False)
        assert time.monotonic() - began < 20.0
        broker.ensure(["default"], create=True)
        broker.ensure(["default"], create=True)
        broker.ensure(["default"], create=False)
        with pytest.raises(ConfigurationRefused):
            broker.ensure(["default", "nowhere"], create=False)
        broker.close(CLOSE_SECONDS)

    def test_only_a_replayable_broker_has_consumers_with_offsets(self, bed: BrokerBed) -> None:
        assert isinstance(bed.join().consumer, ReplayableConsumer) is bed.broker.replayable

    def test_the_partitions_of_a_queue_grow_or_are_refused(self, bed: BrokerBed, settings: Settings) -> None:
        more = 2 * settings.partitions
        if not bed.broker.partitioned:
            with pytest.raises(ConfigurationRefused, match="no partitions"):
                bed.broker.grow(["default"], more)
            return
        for _ in range(2):
            bed.broker.grow(["default", "new"], more)
        bed.broker.ensure(["default", "new"], create=False)
        with pytest.raises(ConfigurationRefused):
            bed.broker.grow(["default"], settings.partitions)

    # Publishing

    def test_positions_are_in_order_and_unique(self, bed: BrokerBed) -> None:
        sent = [*messages(30), *messages(3, "other"), *messages(30)]
        publication = bed.broker.publish(sent, timestamp_ms=now_ms())
        positions = publication.wait(30.0)
        assert publication.wait(0.0) == positions
        assert publication.errors == {}
        of_default = [place for one, place in zip(sent, positions, strict=True) if one.queue == "default"]
        assert None not in positions
        assert len(set(of_default)) == 60
        assert bed.broker.unacknowledged() == 0

    def test_publishing_nothing_is_allowed(self, bed: BrokerBed) -> None:
        assert list(bed.broker.publish([], timestamp_ms=now_ms()).wait(1.0)) == []
        assert list(bed.broker.publish_dead([], timestamp_ms=now_ms()).wait(1.0)) == []

    def test_a_message_is_delivered_once_at_its_position(self, bed: BrokerBed) -> None:
        sent = [*messages(300), message(new_id(), padding=200_000)]
        positions = publish(bed.broker, sent)
        member = bed.join()
        step_until([member], lambda: len(member.read) >= len(sent), "all are read")
        assert member.step(0.3) == 0
        expected = {one.id: (one.body, position) for one, position in zip(sent, positions, strict=True)}
        assert {one.message.id: (one.body, one.position) for one in member.read} == expected
        assert len(member.read) == len(sent)
        assert all(one.partition is not None and one.partition.queue == "default" for one in member.read)

    def test_a_new_message_wakes_a_waiting_member(self, bed: BrokerBed) -> None:
        member = bed.join()
        step_until([member], lambda: member.step(0.0) == 0 and _joined(bed, member), "it has joined")
        (one,) = messages(1)
        publish(bed.broker, [one])
        began = time.monotonic()
        step_until([member], lambda: member.ids == [one.id], "it has come")
        assert time.monotonic() - began < 15.0

    def test_a_poll_returns_at_most_the_limit_and_in_time(self, bed: BrokerBed) -> None:
        publish(bed.broker, messages(20))
        member = bed.join()
        wait_until(lambda: member.step(0.1, 3) > 3 or len(member.read) == 20, "all are read", 40.0)
        assert len(member.read) == 20
        member.settle_read()
        began = time.monotonic()
        assert member.consumer.poll(100, 0.3) == []
        assert 0.2 < time.monotonic() - began < 10.0

    def test_a_member_reads_only_its_queues(self, bed: BrokerBed) -> None:
        here, there = messages(5), messages(5, "other")
        publish(bed.broker, [*here, *there])
        member = bed.join(["other"])
        step_until([member], lambda: len(member.read) >= 5, "all of its queue are read")
        assert member.step(0.3) == 0
        assert sorted(member.ids) == sorted(one.id for one in there)
        both = bed.join(["default", "other"])
        step_until([member, both], lambda: set(both.ids) >= {one.id for one in here}, "the other queue is read")

    def test_an_unreadable_message_has_a_reason_and_its_id_if_readable(self, bed: BrokerBed) -> None:
        known, newer = new_id(), new_id()
        future = b'{"v":99,"id":"%b","what":"ever"}' % newer.encode()
        bodies = {"a" * 36: b"\xff\xfe not JSON", "b" * 36: future, "c" * 36: b'{"v":1}'}
        bad = [Outgoing(task_id, "default", body) for task_id, body in bodies.items()]
        publish(bed.broker, [*bad, message(known)])
        member = bed.join()
        step_until([member], lambda: len(member.unreadable) + len(member.read) == 4, "all have come")
        assert member.ids == [known]
        assert {one.body: one.task_id for one in member.unreadable} == {
            bodies["a" * 36]: None,
            future: newer,
            bodies["c" * 36]: None,
        }
        assert all(one.reason and one.partition.queue == "default" for one in member.unreadable)

    # Sharing between members

    def test_members_share_messages_and_none_is_lost_when_they_join_and_leave(self, bed: BrokerBed) -> None:
        first, second = bed.join(), bed.join(broker=bed.open())
        sent: set[str] = set()

        def more() -> None:
            batch = messages(100)
            publish(bed.broker, batch)
            sent.update(one.id for one in batch)

        def all_read() -> bool:
            return {*first.ids, *second.ids} == sent

        for _ in range(3):
            more()
            step_until([first, second], all_read, "all are read")
            first.settle_read()
            second.settle_read()
        second.consumer.close(CLOSE_SECONDS)
        more()
        step_until([first], all_read, "the one that stays reads the rest", 30.0)

    def test_unsettled_messages_of_a_closed_member_go_to_another(self, bed: BrokerBed) -> None:
        batch = messages(20)
        publish(bed.broker, batch)
        sent = {one.id for one in batch}
        leaving = bed.join()
        step_until([leaving], lambda: set(leaving.ids) == sent, "all are read")
        leaving.consumer.close(CLOSE_SECONDS)
        heir = bed.join()
        step_until([heir], lambda: set(heir.ids) == sent, "all are read by another", 40.0)

    def test_a_paused_partition_gives_nothing_until_it_is_resumed(self, bed: BrokerBed) -> None:
        (one,) = messages(1)
        publish(bed.broker, [one])
        member = bed.join()
        step_until([member], lambda: len(member.read) == 1, "it has joined")
        partitions = sorted(member.owned) or [member.read[0].partition or Partition("default", 0)]
        member.consumer.pause([*partitions, Partition("default", 999)])
        publish(bed.broker, messages(8))
        assert member.step(0.5) == 0
        member.consumer.resume([*partitions, Partition("default", 999)])
        step_until([member], lambda: len(set(member.ids)) == 9, "all are read")

    def test_settled_messages_come_to_no_other_member(self, bed: BrokerBed) -> None:
        publish(bed.broker, messages(20))
        first = bed.join()
        step_until([first], lambda: len(first.read) == 20, "all are read")
        first.settle_read()
        first.consumer.close(CLOSE_SECONDS)
        other = bed.join()
        step_until([other], lambda: _joined(bed, other), "it has joined")
        assert [other.step(0.2) for _ in range(5)] == [0] * 5

    def test_a_stream_is_one_of_its_queue_and_shard(self, bed: BrokerBed) -> None:
        keys = [bed.broker.stream("default", 0), bed.broker.stream("other", 0)]
        assert keys == [None, None] or (None not in keys and len(set(keys)) == 2)
        assert keys == [None, None] or not bed.broker.replayable

    # Dead letters

    def test_dead_letters_are_acknowledged_and_never_delivered(self, bed: BrokerBed) -> None:
        letters = [*messages(3), *messages(2, "other"), Outgoing("0:17", "default", b"\xff no message")]
        for _ in range(2):
            assert None not in bed.broker.publish_dead(letters, timestamp_ms=now_ms()).wait(30.0)
        tombstones = [Outgoing(letter.id, letter.queue, b"") for letter in letters]
        assert None not in bed.broker.publish_dead(tombstones, timestamp_ms=now_ms()).wait(30.0)
        member = bed.join(["default", "other"])
        assert [member.step(0.2) for _ in range(5)] == [0] * 5

    # Replayable brokers

    def test_a_gained_partition_is_paused_and_its_commit_readable(self, bed: BrokerBed) -> None:
        _only(bed.broker, replayable=True)
        publish(bed.broker, messages(40))
        before = bed.join()
        step_until([before], lambda: len(before.read) == 40, "all are read")
        place = before.read[0].partition
        assert place is not None
        before.offsets.commit({place: (2, "safe=1")})
        before.consumer.close(CLOSE_SECONDS)
        after = bed.join().offsets
        gained: set[Partition] = set()
        until = time.monotonic() + 40.0
        while place not in gained and time.monotonic() < until:
            assert after.poll(500, 0.1) == []
            gained |= after.changes()[0]
        assert after.poll(500, 0.3) == []
        assert after.committed([place]) == {place: (2, "safe=1")}
        after.seek(place, 1)
        assert after.position(place) == 1
        after.resume([place])
        found: list[int] = []
        while not found and time.monotonic() < until:
            found = [one.offset for one in after.poll(500, 0.2)]
        assert found[:1] == [1]

    def test_the_end_of_a_log_is_after_every_acknowledged_message(self, bed: BrokerBed) -> None:
        _only(bed.broker, replayable=True)
        member = bed.join()
        step_until([member], lambda: member.owned, "it has joined")
        for count in (0, 40, 80):
            assert sum(member.offsets.ends(sorted(member.owned)).values()) == count
            positions = [position.partition(":") for position in publish(bed.broker, messages(40))]
            ends = member.offsets.ends(sorted(member.owned))
            assert all(int(offset) < ends[Partition("default", int(number))] for number, _, offset in positions)

    def test_offset_at_finds_the_first_message_of_a_time(self, bed: BrokerBed) -> None:
        _only(bed.broker, replayable=True)
        stamp = now_ms()
        for age in (3000, 1000):
            assert None not in bed.broker.publish(messages(40), timestamp_ms=stamp - age).wait(30.0)
        member = bed.join()
        step_until([member], lambda: len(member.read) == 80, "all are read")
        place = member.read[0].partition
        assert place is not None
        first, newer, none = (member.offsets.offset_at(place, stamp - age) for age in (9000, 1500, -9000))
        assert first == 0
        assert newer is not None
        assert newer > 0
        assert none is None

    # Brokers that are not replayable

    def test_no_partition_is_gained_or_lost(self, bed: BrokerBed) -> None:
        _only(bed.broker, replayable=False)
        publish(bed.broker, messages(3))
        consumer = bed.join().consumer
        assert len(consumer.poll(500, 30.0)) == 3
        assert consumer.changes() == (frozenset(), frozenset())

    def test_messages_of_a_dead_member_go_to_another_after_a_lease(self, settings: Settings) -> None:
        bed = BrokerBed(lambda: self.open(structs.replace(settings, claim_stale_seconds=LEASE)))
        try:
            self._dead_members_messages_are_taken(bed)
        finally:
            bed.close()

    def _dead_members_messages_are_taken(self, bed: BrokerBed) -> None:
        _only(bed.broker, replayable=False)
        sent = messages(10)
        publish(bed.broker, sent)
        dead = bed.join()
        began = time.monotonic()
        step_until([dead], lambda: len(set(dead.ids)) == 10, "all are read")
        heir = bed.join()
        assert heir.step(LEASE / 4) == 0 or time.monotonic() - began > LEASE
        step_until([heir], lambda: set(heir.ids) == {one.id for one in sent}, "the heir has all")
        heir.settle_read()
        last = bed.join()
        until = time.monotonic() + 2 * LEASE + 1.5
        while time.monotonic() < until:
            assert last.step() == 0

    def test_a_poll_for_no_messages_returns_none(self, bed: BrokerBed) -> None:
        publish(bed.broker, messages(3))
        member = bed.join()
        wait_until(lambda: member.step(0.1, most=0) == 0 and _joined(bed, member), "such polls make it join", 40.0)
        for _ in range(5):
            assert member.step(0.2, most=0) == 0
        step_until([member], lambda: len(member.read) == 3, "all are read")
        publish(bed.broker, messages(3))
        for _ in range(5):
            assert member.step(0.2, most=0) == 0
        step_until([member], lambda: len(member.read) == 6, "all are read")

    # Findings, close, and an unreachable broker

    def test_findings_of_a_broker_have_a_remedy_and_change_nothing(self, bed: BrokerBed) -> None:
        publish(bed.broker, messages(3))
        for finding in bed.broker.findings(now_ms()):
            assert finding.check
            assert finding.found
            assert bool(finding.remedy) == (finding.level is not Level.OK)
        member = bed.join()
        step_until([member], lambda: len(member.read) == 3, "all are read")

    def test_closing_never_raises(self, bed: BrokerBed) -> None:
        broker, member = bed.open(), bed.join()
        member.step()
        for _ in range(2):
            member.consumer.close(CLOSE_SECONDS)
            broker.close(CLOSE_SECONDS)

    def test_every_call_to_an_unreachable_broker_is_unavailable(self, unreachable: Settings | None) -> None:
        if unreachable is None:
            pytest.skip("the fixture `unreachable` gives no address for this broker")
        broker = self.open(unreachable)
        calls: list[Callable[[], object]] = [
            lambda: broker.ensure(["default"], create=True),
            lambda: broker.consumer(["default"], member="m"),
        ]
        for call in calls:
            with pytest.raises(BrokerUnavailable):
                call()
        try:
            assert list(broker.publish(messages(2), timestamp_ms=1).wait(0.5)) == [None, None]
        except BrokerUnavailable:
            pass
        broker.close(CLOSE_SECONDS)


def _only(broker: Broker, *, replayable: bool) -> None:
    if broker.replayable is not replayable:
        pytest.skip("not this kind of broker")


def _joined(bed: BrokerBed, member: Member) -> bool:
    return bool(member.owned) or not bed.broker.replayable

"""The promises of every broker (`interfaces.Broker`, `Consumer`, `ReplayableConsumer`), as tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from msgspec import structs

from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused
from yadtq_core.interfaces import Broker, ReplayableConsumer
from yadtq_core.model import Level, Outgoing, Partition, new_id
from yadtq_core.plugin.loading import open_broker
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.readers import Member, message, messages, now_ms, publish, step_until
from yadtq_core.testing.waiting import wait_until

CLOSE_SECONDS = 5.0
LEASE = 0.4
"""Of the suite's brokers, where a dead consumer's messages are taken after a lease."""


class Post:
    """One namespace's queues `default` and `other`, and the members that were opened there."""

    def __init__(self, opener: Callable[[], Broker]) -> None:
        self._opener = opener
        self._opened: list[Broker] = []
        self._members: list[Member] = []
        self.broker = self.open()
        self.broker.ensure(["default", "other"], create=True)

    def open(self) -> Broker:
        """Return another broker of this namespace."""
        made = self._opener()
        self._opened.append(made)
        return made

    def join(self, queues: Sequence[str] = ("default",), broker: Broker | None = None) -> Member:
        """Return a new member; it joins with its first step."""
        member = Member((broker or self.broker).consumer(queues, member="member"))
        self._members.append(member)
        return member

    def close(self) -> None:
        """Close all of it."""
        for member in self._members:
            member.consumer.close(CLOSE_SECONDS)
        for made in self._opened:
            made.close(CLOSE_SECONDS)


class BrokerContract:
    """Subclass it, give it the fixture `settings`, and pytest runs every promise of the seam on your broker.

        class TestMyBroker(BrokerContract):
            @pytest.fixture
            def settings(self, namespace):
                return Settings(broker="mine://localhost", backend="redis://localhost", namespace=namespace)

    Each test needs a namespace without any queue. What only a `replayable` broker promises is passed over where yours
    is none, and the other way round. `unreachable`, if given, are settings of a place where no broker answers.
    """

    @pytest.fixture
    def settings(self) -> Settings:
        """The settings of a new namespace; a subclass must say it."""
        raise NotImplementedError("give your contract class a fixture `settings`")

    @pytest.fixture
    def unreachable(self) -> Settings | None:
        """Settings whose broker does not answer; None where there is no such thing."""
        return None

    def open(self, settings: Settings) -> Broker:
        """Open a broker: by its scheme, unless a subclass knows better."""
        return open_broker(settings)

    @pytest.fixture
    def post(self, settings: Settings) -> Iterator[Post]:
        """The namespace."""
        made = Post(lambda: self.open(settings))
        yield made
        made.close()

    # Queues

    def test_a_missing_queue_is_refused_at_once_with_what_mends_it(self, settings: Settings) -> None:
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

    def test_only_a_replayable_broker_has_consumers_with_offsets(self, post: Post) -> None:
        assert isinstance(post.join().consumer, ReplayableConsumer) is post.broker.replayable

    def test_the_partitions_of_a_queue_grow_or_are_refused(self, post: Post, settings: Settings) -> None:
        more = 2 * settings.partitions
        if not post.broker.partitioned:
            with pytest.raises(ConfigurationRefused, match="no partitions"):
                post.broker.grow(["default"], more)
            return
        for _ in range(2):
            post.broker.grow(["default", "new"], more)
        post.broker.ensure(["default", "new"], create=False)
        with pytest.raises(ConfigurationRefused):
            post.broker.grow(["default"], settings.partitions)

    # Publishing

    def test_positions_come_in_order_and_no_two_are_alike(self, post: Post) -> None:
        sent = [*messages(30), *messages(3, "other"), *messages(30)]
        publication = post.broker.publish(sent, timestamp_ms=now_ms())
        positions = publication.wait(30.0)
        assert publication.wait(0.0) == positions
        assert publication.errors == {}
        of_default = [place for one, place in zip(sent, positions, strict=True) if one.queue == "default"]
        assert None not in positions
        assert len(set(of_default)) == 60
        assert post.broker.unacknowledged() == 0

    def test_nothing_published_is_nothing_acknowledged(self, post: Post) -> None:
        assert list(post.broker.publish([], timestamp_ms=now_ms()).wait(1.0)) == []
        assert list(post.broker.publish_dead([], timestamp_ms=now_ms()).wait(1.0)) == []
        assert list(post.broker.undeliverable([])) == []

    def test_what_was_published_is_delivered_once_from_where_its_position_says(self, post: Post) -> None:
        sent = [*messages(300), message(new_id(), padding=200_000)]
        positions = publish(post.broker, sent)
        member = post.join()
        step_until([member], lambda: len(member.read) >= len(sent), "all are read")
        assert member.step(0.3) == 0
        expected = {one.id: (one.body, position) for one, position in zip(sent, positions, strict=True)}
        assert {one.message.id: (one.body, one.position) for one in member.read} == expected
        assert len(member.read) == len(sent)
        assert all(one.partition is not None and one.partition.queue == "default" for one in member.read)

    def test_what_comes_later_wakes_a_waiting_member(self, post: Post) -> None:
        member = post.join()
        step_until([member], lambda: member.step(0.0) == 0 and _joined(post, member), "it has joined")
        (one,) = messages(1)
        publish(post.broker, [one])
        began = time.monotonic()
        step_until([member], lambda: member.ids == [one.id], "it has come")
        assert time.monotonic() - began < 15.0

    def test_a_poll_gives_no_more_than_asked_for_and_ends_in_time(self, post: Post) -> None:
        publish(post.broker, messages(20))
        member = post.join()
        wait_until(lambda: member.step(0.1, 3) > 3 or len(member.read) == 20, "all are read", 40.0)
        assert len(member.read) == 20
        member.settle_read()
        began = time.monotonic()
        assert member.consumer.poll(100, 0.3) == []
        assert 0.2 < time.monotonic() - began < 10.0

    def test_queues_are_kept_apart(self, post: Post) -> None:
        here, there = messages(5), messages(5, "other")
        publish(post.broker, [*here, *there])
        member = post.join(["other"])
        step_until([member], lambda: len(member.read) >= 5, "all of its queue are read")
        assert member.step(0.3) == 0
        assert sorted(member.ids) == sorted(one.id for one in there)
        both = post.join(["default", "other"])
        step_until([member, both], lambda: set(both.ids) >= {one.id for one in here}, "the other queue is read")

    def test_what_cannot_be_read_says_why_and_whose_it_is(self, post: Post) -> None:
        known, newer = new_id(), new_id()
        future = b'{"v":99,"id":"%b","what":"ever"}' % newer.encode()
        bodies = {"a" * 36: b"\xff\xfe not JSON", "b" * 36: future, "c" * 36: b'{"v":1}'}
        bad = [Outgoing(task_id, "default", body) for task_id, body in bodies.items()]
        publish(post.broker, [*bad, message(known)])
        member = post.join()
        step_until([member], lambda: len(member.unreadable) + len(member.read) == 4, "all have come")
        assert member.ids == [known]
        assert {one.body: one.task_id for one in member.unreadable} == {
            bodies["a" * 36]: None,
            future: newer,
            bodies["c" * 36]: None,
        }
        assert all(one.reason and one.partition.queue == "default" for one in member.unreadable)

    # Sharing, and what is left behind

    def test_members_share_and_nothing_is_lost_when_they_come_and_go(self, post: Post) -> None:
        first, second = post.join(), post.join(broker=post.open())
        sent: set[str] = set()

        def more() -> None:
            batch = messages(100)
            publish(post.broker, batch)
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

    def test_what_a_member_was_given_and_never_settled_is_given_to_another(self, post: Post) -> None:
        batch = messages(20)
        publish(post.broker, batch)
        sent = {one.id for one in batch}
        leaving = post.join()
        step_until([leaving], lambda: set(leaving.ids) == sent, "all are read")
        leaving.consumer.close(CLOSE_SECONDS)
        heir = post.join()
        step_until([heir], lambda: set(heir.ids) == sent, "all are read by another", 40.0)

    def test_a_paused_partition_gives_nothing_until_it_is_resumed(self, post: Post) -> None:
        (one,) = messages(1)
        publish(post.broker, [one])
        member = post.join()
        step_until([member], lambda: len(member.read) == 1, "it has joined")
        partitions = sorted(member.owned) or [member.read[0].partition or Partition("default", 0)]
        member.consumer.pause([*partitions, Partition("default", 999)])
        publish(post.broker, messages(8))
        assert member.step(0.5) == 0
        member.consumer.resume([*partitions, Partition("default", 999)])
        step_until([member], lambda: len(set(member.ids)) == 9, "all are read")

    def test_what_can_still_be_delivered(self, post: Post) -> None:
        positions = publish(post.broker, messages(20))
        asked = [("default", position) for position in positions]
        assert list(post.broker.undeliverable(asked)) == [False] * 20
        shard, _, offset = positions[0].partition(":")
        wrong = ["", "nonsense", "1755-0", "999:0", f"{shard}:{int(offset) + 10**9}"]
        mixed = [asked[0], *(("default", position) for position in wrong), ("nowhere", positions[0]), asked[1]]
        assert list(post.broker.undeliverable(mixed)) == [False, *[True] * 6, False]
        member = post.join()
        step_until([member], lambda: len(member.read) == 20, "all are read")
        assert list(post.broker.undeliverable(asked)) == [False] * 20
        member.settle_read()
        wait_until(lambda: member.step(0.0) or all(post.broker.undeliverable(asked)), "what is settled is gone")

    # Dead letters

    def test_dead_letters_are_acknowledged_kept_and_taken_back(self, post: Post) -> None:
        letters = [*messages(3), *messages(2, "other"), Outgoing("0:17", "default", b"\xff no message")]
        for _ in range(2):
            assert None not in post.broker.publish_dead(letters, timestamp_ms=now_ms()).wait(30.0)
        tombstones = [Outgoing(letter.id, letter.queue, b"") for letter in letters]
        assert None not in post.broker.publish_dead(tombstones, timestamp_ms=now_ms()).wait(30.0)
        member = post.join(["default", "other"])
        assert [member.step(0.2) for _ in range(5)] == [0] * 5

    # Where progress is an offset

    def test_a_gained_partition_gives_nothing_until_what_was_committed_is_looked_at(self, post: Post) -> None:
        _only(post.broker, replayable=True)
        publish(post.broker, messages(40))
        before = post.join()
        step_until([before], lambda: len(before.read) == 40, "all are read")
        place = before.read[0].partition
        assert place is not None
        before.offsets.commit({place: (2, "safe=1")})
        before.consumer.close(CLOSE_SECONDS)
        after = post.join().offsets
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

    def test_an_offset_is_found_by_its_time(self, post: Post) -> None:
        _only(post.broker, replayable=True)
        stamp = now_ms()
        for age in (3000, 1000):
            assert None not in post.broker.publish(messages(40), timestamp_ms=stamp - age).wait(30.0)
        member = post.join()
        step_until([member], lambda: len(member.read) == 80, "all are read")
        place = member.read[0].partition
        assert place is not None
        first, newer, none = (member.offsets.offset_at(place, stamp - age) for age in (9000, 1500, -9000))
        assert first == 0
        assert newer is not None
        assert newer > 0
        assert none is None

    # Where what was settled is gone

    def test_no_partition_is_gained_or_lost(self, post: Post) -> None:
        _only(post.broker, replayable=False)
        publish(post.broker, messages(3))
        consumer = post.join().consumer
        assert len(consumer.poll(500, 30.0)) == 3
        assert consumer.changes() == (frozenset(), frozenset())

    def test_a_dead_members_messages_are_taken_after_a_lease(self, settings: Settings) -> None:
        post = Post(lambda: self.open(structs.replace(settings, claim_stale_seconds=LEASE)))
        try:
            self._dead_members_messages_are_taken(post)
        finally:
            post.close()

    def _dead_members_messages_are_taken(self, post: Post) -> None:
        _only(post.broker, replayable=False)
        sent = messages(10)
        positions = [("default", position) for position in publish(post.broker, sent)]
        dead = post.join()
        began = time.monotonic()
        step_until([dead], lambda: len(set(dead.ids)) == 10, "all are read")
        heir = post.join()
        assert heir.step(LEASE / 4) == 0 or time.monotonic() - began > LEASE
        step_until([heir], lambda: set(heir.ids) == {one.id for one in sent}, "the heir has all")
        heir.settle_read()
        assert list(post.broker.undeliverable(positions)) == [True] * 10
        last = post.join()
        until = time.monotonic() + 2 * LEASE + 1.5
        while time.monotonic() < until:
            assert last.step() == 0

    def test_a_full_worker_only_keeps_its_place(self, post: Post) -> None:
        _only(post.broker, replayable=False)
        publish(post.broker, messages(3))
        consumer = post.join().consumer
        assert list(consumer.poll(0, 0.1)) == []
        assert len(consumer.poll(500, 30.0)) == 3

    # Ends

    def test_what_there_is_to_say_of_it_changes_nothing(self, post: Post) -> None:
        positions = publish(post.broker, messages(3))
        for finding in post.broker.findings(now_ms()):
            assert finding.check
            assert finding.found
            assert bool(finding.remedy) == (finding.level is not Level.OK)
        assert list(post.broker.undeliverable([("default", position) for position in positions])) == [False] * 3

    def test_closing_never_raises(self, post: Post) -> None:
        broker, member = post.open(), post.join()
        member.step()
        for _ in range(2):
            member.consumer.close(CLOSE_SECONDS)
            broker.close(CLOSE_SECONDS)

    def test_what_cannot_be_reached_is_unavailable(self, unreachable: Settings | None) -> None:
        if unreachable is None:
            pytest.skip("no such place for this broker")
        broker = self.open(unreachable)
        calls: list[Callable[[], object]] = [
            lambda: broker.ensure(["default"], create=True),
            lambda: broker.undeliverable([("default", "0:0")]),
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


def _joined(post: Post, member: Member) -> bool:
    return bool(member.owned) or not post.broker.replayable

"""Members share a queue: offsets are committed before a partition goes, and no message is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.structs import MemberState

from tests.integration.brokers.kafka.flow import Members
from tests.waiting import wait_until
from yadtq_core.brokers.kafka import KafkaBroker, KafkaGroupConsumer, Tuning
from yadtq_core.model import Partition, new_id
from yadtq_core.testing.contracts.broker_bed import Member, message, messages, now_ms, publish, step_until

Make = Callable[..., KafkaBroker]
QUICK = Tuning(metadata_age=1.0, session=6.0)
FIRST = Partition("default", 0)


def test_offsets_by_time(broker: KafkaBroker, members: Members) -> None:
    stamp = now_ms()
    for age in (3000, 2000, 1000):
        broker.publish(messages(4), timestamp_ms=stamp - age).wait(30.0)
    member = members.join(broker)
    step_until([member], lambda: len(member.read) == 12, "all are read")
    ask = member.offsets.offset_at
    assert [ask(FIRST, stamp - age) for age in (9000, 2000, 1500, 0)] == [0, 1, 2, None]


def test_unreadable_messages_do_not_block_their_partition(
    broker: KafkaBroker, members: Members, namespace: str, admin: KafkaAdminClient
) -> None:
    """K9: one bad message never blocks its partition."""
    known, newer = new_id(), new_id()
    future = json.dumps({"v": 99, "id": newer, "what": "ever"}).encode()
    producer = KafkaProducer(bootstrap_servers=admin.config["bootstrap_servers"])
    for body in (b"\xff\xfe not JSON", b"[" * 900_000, None, future, b'{"v":1}', message(known).body):
        producer.send(f"yadtq.{namespace}.default", body, key=b"k", partition=0)
    producer.close()
    member = members.join(broker)
    step_until([member], lambda: member.ids == [known], "the good one is read")
    assert [(one.offset, one.task_id) for one in member.unreadable] == [
        (0, None),
        (1, None),
        (2, None),
        (3, newer),
        (4, None),
    ]
    assert all(one.partition == FIRST and one.reason for one in member.unreadable)
    assert member.unreadable[2].body == b""
    assert "99" in member.unreadable[3].reason


def test_two_members_share_and_nothing_is_lost_when_they_come_and_go(broker: KafkaBroker, members: Members) -> None:
    """Each member commits what it read; another member continues from there."""
    sent: set[str] = set()
    first = members.join(broker, name="first")
    everybody = [first]

    def more(count: int) -> None:
        batch = messages(count)
        publish(broker, batch)
        sent.update(one.id for one in batch)

    def all_read() -> bool:
        for member in everybody:
            member.commit_read()
        return {task_id for member in everybody for task_id in member.ids} >= sent

    more(200)
    step_until([first], all_read, "one member reads all")
    second = members.join(broker, name="second")
    everybody.append(second)
    more(200)
    step_until(everybody, lambda: all_read() and len(first.owned) == len(second.owned) == 2, "each has two partitions")
    more(200)
    step_until(everybody, all_read, "both read all")
    assert first.owned.isdisjoint(second.owned)
    second.consumer.close(5.0)
    more(200)
    step_until([first], lambda: all_read() and len(first.owned) == 4, "the one that stays reads all")
    assert len(first.read) + len(second.read) == len(sent), "some were read twice"


def test_the_newest_offsets_are_committed_when_partitions_go(broker: KafkaBroker, members: Members) -> None:
    """Also those that were given while another commit was under way."""
    publish(broker, messages(400))
    first = members.join(broker, name="first")
    step_until([first], lambda: len(first.read) == 400, "all are read")
    for offset in range(1, 51):  # most of these wait behind the first
        first.offsets.commit({Partition("default", number): (offset, f"at {offset}") for number in range(4)})
    second = members.join(broker, name="second")
    step_until([first, second], lambda: len(second.owned) == 2, "two partitions have gone over")
    assert second.offsets.committed(sorted(second.owned)) == dict.fromkeys(second.owned, (50, "at 50"))


def test_a_busy_partition_does_not_wait_for_an_idle_one(make_broker: Make, members: Members) -> None:
    """While a fetch for the idle one waited at the broker for 500 ms, the busy one gave 2,600 messages a second."""
    broker = make_broker(partitions=1)
    broker.ensure(["default", "idle"], create=True)
    publish(broker, messages(10_000))
    member = members.join(broker, queues=["default", "idle"])
    step_until([member], lambda: len(member.owned) == 2, "it owns both partitions")
    before, began = len(member.read), time.monotonic()
    wait_until(lambda: member.step(0.2, 500) and len(member.read) == 10_000, "all are read", 60.0)
    assert (10_000 - before) / (time.monotonic() - began) > 5_000


def test_only_owned_partitions_are_committed(broker: KafkaBroker, members: Members) -> None:
    publish(broker, messages(40))
    first, second = members.join(broker, name="first"), members.join(broker, name="second")
    step_until([first, second], lambda: len(first.owned) == len(second.owned) == 2, "each has two partitions")
    everything = [Partition("default", number) for number in range(4)]
    first.offsets.commit(dict.fromkeys(everything, (5, "mine")))
    step_until([first, second], lambda: len(first.offsets.committed(everything)) == 2, "it has committed")
    assert set(first.offsets.committed(everything)) == first.owned


def test_metadata_is_cut_at_its_end_to_what_the_broker_takes(broker: KafkaBroker, members: Members) -> None:
    publish(broker, messages(4))
    member = members.join(broker)
    step_until([member], lambda: len(member.read) == 4, "all are read")
    second = Partition("default", 1)
    member.offsets.commit({FIRST: (1, "x" * 4096), second: (1, "y" + "x" * 4096)})
    step_until([member], lambda: len(member.offsets.committed([FIRST, second])) == 2, "both are committed")
    assert member.offsets.committed([FIRST, second]) == {FIRST: (1, "x" * 4096), second: (1, "y" + "x" * 4095)}


def test_a_topic_that_grows_under_load_loses_nothing(make_broker: Make, members: Members) -> None:
    """K13: clients and members take the new partitions without a restart."""
    broker = make_broker(tuning=QUICK)
    broker.ensure(["default"], create=True)
    first, second = members.join(broker), members.join(broker)
    sent: set[str] = set()

    def more() -> None:
        batch = messages(50)
        publish(broker, batch)
        sent.update(one.id for one in batch)

    def grown() -> bool:
        more()
        return len(first.owned | second.owned) == 12

    step_until([first, second], lambda: len(first.owned | second.owned) == 4, "both have joined")
    more()
    broker.grow(["default"], 12)
    step_until([first, second], grown, "the new partitions are ours")
    step_until([first, second], lambda: set(first.ids + second.ids) >= sent, "all are read")
    assert {one.partition.number for one in first.read + second.read if one.partition} >= set(range(5, 12))


def test_a_topic_that_is_deleted_and_made_again_is_read_from_its_start(
    make_broker: Make, members: Members, admin: KafkaAdminClient, namespace: str
) -> None:
    """K13."""
    broker = make_broker(tuning=QUICK)
    broker.ensure(["default"], create=True)
    member = members.join(broker)
    publish(broker, messages(40))
    step_until([member], lambda: len(member.read) == 40, "the first ones are read")
    member.commit_read()
    member.step()
    admin.delete_topics([f"yadtq.{namespace}.default"])
    step_until([member], lambda: not member.owned, "the partitions are gone")
    wait_until(lambda: _made_again(broker), "the topic is made again")
    batch = messages(20)
    publish(broker, batch)
    wanted = {one.id for one in batch}
    step_until([member], lambda: set(member.ids) >= wanted, "the new ones are read", timeout=60.0)


def test_a_member_that_did_not_poll_for_too_long_forgets_everything(make_broker: Make, members: Members) -> None:
    """K7, K8: its partitions belong to others now, so it must not commit its old offsets."""
    broker = make_broker(tuning=Tuning(session=6.0, rebalance=6.0))
    broker.ensure(["default"], create=True)
    slow, other = members.join(broker, name="slow"), members.join(broker, name="other")
    publish(broker, messages(40))
    step_until([slow, other], lambda: len(slow.owned) == len(other.owned) == 2, "each has two partitions")
    step_until([slow, other], lambda: len(set(slow.ids + other.ids)) == 40, "all are read")
    had = sorted(slow.owned)
    step_until([other], lambda: len(other.owned) == 4, "the other has all", timeout=60.0)
    slow.offsets.commit(dict.fromkeys(had, (9, "late")))
    lost: frozenset[Partition] = frozenset()
    deadline = time.monotonic() + 30.0
    while not lost and time.monotonic() < deadline:
        slow.consumer.poll(500, 0.1)
        other.step()
        lost = slow.consumer.changes()[1]
    assert lost == frozenset(had)
    assert "late" not in {metadata for _, metadata in other.offsets.committed(had).values()}


def test_the_watchdog_replaces_a_member_stuck_outside_the_group(
    make_broker: Make, members: Members, caplog: pytest.LogCaptureFixture
) -> None:
    """The watchdog: if kafka-python cannot join the group, the worker replaces the consumer and goes on."""
    broker = make_broker(tuning=Tuning(session=6.0, rebalance=2.0, stuck=1.0))
    broker.ensure(["default"], create=True)
    member = members.join(broker)
    step_until([member], lambda: len(member.owned) == 4, "all partitions are ours")
    assert isinstance(member.consumer, KafkaGroupConsumer)
    coordinator = member.consumer._consumer._coordinator
    coordinator.need_rejoin = lambda: False  # as upstream decides while a begun join waits to be applied
    coordinator.state = MemberState.REBALANCING
    batch = messages(40)
    publish(broker, batch)
    wanted = {one.id for one in batch}
    step_until([member], lambda: "replacing the membership" in caplog.text, "it is replaced")
    step_until([member], lambda: set(member.ids) >= wanted and len(member.owned) == 4, "all are read")


@pytest.mark.slow
def test_no_start_hangs(broker: KafkaBroker) -> None:
    """60 starts with polls of 100 ms, of which 4 hung for ever without the remedies of `internals`."""
    publish(broker, messages(40))
    for _ in range(60):
        member = Member(broker.consumer(["default"], member="m"))
        try:
            _join_and_read(member, 40)
        finally:
            member.consumer.close(2.0)


def test_close_is_quick_and_hands_over_at_once(make_broker: Make, members: Members) -> None:
    """Long before the session of the one that leaves would be over."""
    broker = make_broker(tuning=Tuning(session=45.0))
    broker.ensure(["default"], create=True)
    leaving, staying = members.join(broker), members.join(broker)
    step_until([leaving, staying], lambda: len(leaving.owned) == len(staying.owned) == 2, "each has two")
    started = time.monotonic()
    leaving.consumer.close(60.0)
    assert time.monotonic() - started < 20.0
    step_until([staying], lambda: len(staying.owned) == 4, "the other has all", timeout=20.0)


def _made_again(broker: KafkaBroker) -> bool:
    try:
        broker.ensure(["default"], create=True)
    except Exception:
        return False
    return True


def _join_and_read(member: Member, count: int) -> None:
    step_until([member], lambda: len(member.read) >= count, f"{count} are read")

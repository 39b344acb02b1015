"""The keys of the streams broker in Redis, and its answers when Redis is replaced, full, emptied or away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from msgspec import structs

from tests.waiting import wait_until
from yadtq_core.brokers import redis_streams
from yadtq_core.brokers.redis_streams import RedisStreamsBroker
from yadtq_core.brokers.redis_streams.consumer import FEW, READ_BYTES
from yadtq_core.brokers.redis_streams.streams import GROUP
from yadtq_core.errors import ConfigurationRefused, InvalidSetting
from yadtq_core.model import new_id, shard_of
from yadtq_core.net.redis_client import Store, open_store
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.broker_bed import Member, message, messages, now_ms, publish, step_until
from yadtq_local import LocalValkey

LEASE = 60.0
"""Longer than any test, so that none is given again what it has read; who waits for its end asks for a short one."""


class Yard:
    """One namespace of a Redis: its brokers, and the Redis itself."""

    def __init__(self, url: str, namespace: str, at_end: ExitStack) -> None:
        self.url, self.namespace, self._at_end = url, namespace, at_end
        self.store: Store = at_end.enter_context(closing(open_store(url)))

    def settings(self, **given: Any) -> Settings:
        """Return the namespace's settings."""
        broker = self.url.replace("://", "+streams://", 1)
        return structs.replace(
            Settings(broker=broker, backend=self.url, namespace=self.namespace),
            **({"claim_stale_seconds": LEASE} | given),
        )

    def open(self, **given: Any) -> RedisStreamsBroker:
        """Return a broker whose queue exists."""
        broker = redis_streams.open(self.settings(**given))
        self._at_end.callback(broker.close, 1.0)
        broker.ensure(["default"], create=True)
        return broker

    def join(self, broker: RedisStreamsBroker, name: str = "member") -> Member:
        """Return a member that is closed at the end."""
        member = Member(broker.consumer(["default"], member=name))
        self._at_end.callback(member.consumer.close, 1.0)
        return member

    def key(self, kind: str = "stream", shard: int = 0) -> str:
        """Return the key of the queue's messages, or of its dead letters (`dead`)."""
        return f"yadtq:{{{self.namespace}:{shard}}}:{kind}:default"

    def consumers(self) -> list[str]:
        """Return the names of the consumers that Redis knows."""
        return [fields["name"].decode() for fields in self.store.run("XINFO CONSUMERS", self.key(), "yadtq")]


@pytest.fixture
def make_yard(namespace: str) -> Iterator[Callable[[str], Yard]]:
    """Open the test's namespace in a Redis."""
    with ExitStack() as at_end:
        yield lambda url: Yard(url, namespace, at_end)


@pytest.fixture
def yard(make_yard: Callable[[str], Yard], redis_url: str) -> Iterator[Yard]:
    """The test's namespace in the shared Redis."""
    made = make_yard(redis_url)
    yield made
    for shard in range(4):
        made.store.run("UNLINK", made.key("stream", shard), made.key("dead", shard))


def test_a_settled_message_leaves_nothing_behind(yard: Yard) -> None:
    broker = yard.open()
    member = yard.join(broker)
    publish(broker, messages(50))
    step_until([member], lambda: len(member.read) == 50, "all are read")
    assert yard.store.run("XPENDING", yard.key(), "yadtq")["pending"] == 50
    member.settle_read()
    assert yard.store.run("XPENDING", yard.key(), "yadtq")["pending"] == 0
    assert yard.store.run("XLEN", yard.key()) == 0


def test_each_start_of_a_worker_is_a_consumer_of_its_own_and_dead_empty_ones_are_removed(yard: Yard) -> None:
    broker = yard.open(claim_stale_seconds=1.0)
    publish(broker, messages(1))
    dead, left = yard.join(broker, "w"), yard.join(broker, "w")
    step_until([dead], lambda: dead.read, "the one that dies has it")
    left.step(0.0)
    left.consumer.close(1.0)
    (holding,) = yard.consumers()
    assert holding.startswith("w:")
    heir = yard.join(broker, "w")
    step_until([heir], lambda: len(heir.read) == 1, "the heir has it")
    heir.settle_read()
    step_until([heir], lambda: len(yard.consumers()) == 1, "the dead one is forgotten")
    assert yard.consumers() != [holding]


def test_unsettled_messages_of_a_closed_member_are_free_at_once(yard: Yard) -> None:
    broker = yard.open()
    publish(broker, messages(5))
    leaving = yard.join(broker)
    step_until([leaving], lambda: len(leaving.read) == 5, "all are read")
    leaving.consumer.close(1.0)
    heir = yard.join(broker)
    step_until([heir], lambda: len(heir.read) == 5, "the heir has them", 30.0)


def test_messages_beyond_the_limit_are_free_for_others_at_once(yard: Yard) -> None:
    """A command asks every stream for at least one message; a worker of several queues may have one slot."""
    broker = yard.open(shards=4)
    sent = messages(40)
    publish(broker, sent)
    narrow, wide = yard.join(broker), yard.join(broker)
    assert narrow.step(30.0, 1) == 1
    step_until([wide], lambda: len(wide.read) == 39, "all but one are read by the other", 30.0)
    assert set(narrow.ids + wide.ids) == {one.id for one in sent}


def test_the_backlog_of_one_queue_does_not_keep_back_another_one(yard: Yard) -> None:
    broker = yard.open()
    broker.ensure(["other"], create=True)
    publish(broker, [*messages(40), *messages(1, "other")])
    member = Member(broker.consumer(["default", "other"], member="member"))
    for _ in range(3):
        assert member.step(30.0, 1) == 1
    assert {one.message.queue for one in member.read} == {"default", "other"}
    pending = yard.store.run("XPENDING", broker.stream("default", 0), GROUP)
    assert pending["pending"] == 2, "no message was read in excess"
    member.consumer.close(1.0)


def test_one_poll_brings_no_more_bytes_than_it_may(yard: Yard) -> None:
    """A worker of short tasks asks for 400 messages; it must not be answered with 100 MB of large ones."""
    broker = yard.open()
    publish(broker, messages(100) + messages(60, padding=250_000))
    member = yard.join(broker)
    bodies: list[list[bytes]] = []
    while sum(map(len, bodies)) < 160:
        polled = member.consumer.poll(400, 5.0)
        assert polled, "nothing is lost"
        bodies.append([one.body for one in polled])
    assert max(sum(map(len, each)) for each in bodies) < READ_BYTES + FEW * 260_000
    assert len(bodies) < 12, "small messages come together"


def test_large_messages_of_a_dead_member_come_in_several_polls(yard: Yard) -> None:
    broker = yard.open(claim_stale_seconds=1.0)
    publish(broker, messages(60, padding=250_000))
    dead, heir = yard.join(broker), yard.join(broker)
    step_until([dead], lambda: len(dead.read) == 60, "the one that dies has them")
    polls: list[int] = []

    def heir_has_them() -> bool:
        before = len(heir.read)
        heir.step(0.5)
        polls.append(sum(len(one.body) for one in heir.read[before:]))
        heir.settle_read()
        return len(set(heir.ids)) == 60

    wait_until(heir_has_them, "the heir has them", 60.0)
    assert max(polls) < READ_BYTES + FEW * 260_000


def test_messages_go_to_the_streams_of_their_shards(yard: Yard) -> None:
    broker = yard.open(shards=4)
    sent = messages(40)
    positions = publish(broker, sent)
    assert [position.partition(":")[0] for position in positions] == [str(shard_of(one.id, 4)) for one in sent]
    member = yard.join(broker)
    step_until([member], lambda: len(member.read) == 40, "all are read")
    assert all(one.partition and one.partition.number == shard_of(one.message.id, 4) for one in member.read)
    member.settle_read()
    keys = [broker.stream("default", shard) for shard in range(4)]
    assert [yard.store.run("XLEN", key) for key in keys] == [0] * 4


def test_an_entry_that_is_none_of_ours_is_unreadable(yard: Yard) -> None:
    member = yard.join(yard.open())
    yard.store.run("XADD", yard.key(), "*", "what", "ever")
    step_until([member], lambda: member.unreadable, "it has come")
    assert member.unreadable[0].reason == "it has no message"


def test_dead_letters_have_their_ids_and_times(yard: Yard) -> None:
    broker = yard.open()
    one = message(new_id())
    broker.publish_dead([one], timestamp_ms=1234)
    assert yard.store.run("HGETALL", yard.key("dead")) == {one.id.encode(): b"1234 " + one.body}


def test_another_redis_or_database_as_backend_is_refused(
    yard: Yard, make_valkey: Callable[..., LocalValkey], make_yard: Callable[[str], Yard]
) -> None:
    other = make_valkey(aof=False)
    third = make_yard(other.url).settings(backend=f"{other.url}?db=3")
    for settings in (yard.settings(backend=other.url), third):
        with pytest.raises(
            ConfigurationRefused, match=r"not the same Redis and database.*set YADTQ_BACKEND to unix://"
        ):
            redis_streams.open(settings).ensure(["default"], create=True)
    with pytest.raises(ConfigurationRefused, match="not the same Redis"):
        redis_streams.open(yard.settings(backend="memory://"))


def test_an_unusable_address_is_refused_at_once(yard: Yard) -> None:
    with pytest.raises(InvalidSetting):
        redis_streams.open(yard.settings(broker="redis+streams://host:0"))


def test_streams_that_redis_has_lost_are_created_again(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    broker = yard.open()
    member = yard.join(broker)
    publish(broker, messages(3))
    yard.store.run("UNLINK", yard.key())
    after = messages(3)
    with caplog.at_level(logging.WARNING):
        publish(broker, after)  # the stream is there again, its group not yet
        step_until([member], lambda: set(member.ids) >= {one.id for one in after}, "the new ones are read")
    assert "can be read again" in caplog.text


def test_a_redis_that_was_away_is_read_again(
    make_valkey: Callable[..., LocalValkey], make_yard: Callable[[str], Yard], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_valkey()
    yard = make_yard(server.url)
    broker = yard.open()
    member = yard.join(broker)
    publish(broker, messages(5))
    step_until([member], lambda: len(member.read) == 5, "all are read")
    server.stop()
    began = time.monotonic()
    assert member.step(0.3) == 0
    assert broker.publish(messages(2), timestamp_ms=now_ms()).wait(0.1) == [None, None]
    assert time.monotonic() - began < 15.0
    server.start()
    wait_until(lambda: None not in broker.publish(messages(1), timestamp_ms=now_ms()).wait(5.0), "it answers")
    step_until([member], lambda: len(set(member.ids)) == 6, "the new one is read")
    assert caplog.text.count("failed and continues") == 1
    server.stop()
    member.consumer.close(1.0)  # never raises


def test_a_full_redis_refuses_new_messages_and_lets_the_old_ones_out(
    make_valkey: Callable[..., LocalValkey], make_yard: Callable[[str], Yard]
) -> None:
    yard = make_yard(make_valkey(aof=False).url)
    broker = yard.open()
    member = yard.join(broker)
    publish(broker, messages(20))
    yard.store.run("CONFIG", "SET", "maxmemory", "1")
    publication = broker.publish(messages(2), timestamp_ms=now_ms())
    assert publication.wait(1.0) == [None, None]
    assert "full" in publication.errors[0]
    step_until([member], lambda: len(member.read) == 20, "the old ones are read")
    member.settle_read()
    assert yard.store.run("XLEN", yard.key()) == 0

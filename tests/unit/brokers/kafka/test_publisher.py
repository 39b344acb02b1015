"""The partitions that a queue's messages go to, and the limit of unacknowledged messages."""

from __future__ import annotations

import threading
import time
from collections import Counter

from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.producer.future import FutureProduceResult, FutureRecordMetadata

from tests.waiting import wait_until
from yadtq_core.brokers.kafka.publisher import SPREAD, KafkaPublication, Outstanding, Targets


def _sent(partition: int = 0) -> tuple[FutureProduceResult, FutureRecordMetadata]:
    """Return the futures of a batch of one, as kafka-python makes them."""
    batch = FutureProduceResult(TopicPartition("t", partition))
    return batch, FutureRecordMetadata(batch, 0, 1, None, -1, 10, -1)


def test_partitions_are_dealt_out_in_turn_within_each_shard() -> None:
    targets = Targets("t", 8, 4)
    for shard, partitions in enumerate(targets.of_shard):
        dealt = Counter(next(partitions).partition for _ in range(100))
        assert dealt == {shard: 50, shard + 4: 50}


def test_a_large_publication_goes_to_a_few_of_many_partitions_and_the_next_one_to_others() -> None:
    targets = Targets("t", 1000, 1)
    dealt: Counter[int] = Counter()
    for _ in range(42):
        (turn,) = targets.in_runs(500 // SPREAD)
        sent = [next(turn).partition for _ in range(500)]
        assert SPREAD <= len(set(sent)) <= SPREAD + SPREAD // 7
        dealt.update(sent)
    assert len(dealt) == 1000
    assert max(dealt.values()) - min(dealt.values()) <= 2 * (500 // SPREAD)


def test_a_small_publication_goes_to_as_many_partitions_as_it_has_messages() -> None:
    (turn,) = Targets("t", 1000, 1).in_runs(1)
    assert len({next(turn).partition for _ in range(50)}) == 50
    (turn,) = Targets("t", 8, 1).in_runs(100)
    assert len({next(turn).partition for _ in range(8)}) == 8


def test_positions_come_as_they_are_acknowledged() -> None:
    (first, one), (second, two), (_, three) = _sent(0), _sent(3), _sent(1)
    publication = KafkaPublication([one, None, two, three], {1: "too large"})
    first.success((41, -1, None))
    assert publication.wait(0.0) == ["0:41", None, None, None]
    threading.Timer(0.05, lambda: second.success((7, -1, None))).start()
    wait_until(lambda: publication.wait(0.1) == ["0:41", None, "3:7", None], "the second one is reported")
    started = time.monotonic()
    assert publication.wait(0.3) == ["0:41", None, "3:7", None]
    assert 0.25 < time.monotonic() - started < 20.0
    assert publication.errors == {1: "too large"}


def test_an_expired_message_is_not_refused() -> None:
    """It may have arrived: a sweep looks after it."""
    batch, one = _sent()
    batch.success((-1, -1, lambda _: KafkaTimeoutError("30000 ms has passed")))
    publication = KafkaPublication([one], {})
    assert publication.wait(1.0) == [None]
    assert not publication.errors


def test_there_is_room_as_soon_as_enough_is_acknowledged() -> None:
    outstanding = Outstanding(3)
    sent = [_sent() for _ in range(3)]
    outstanding.add([one for _, one in sent])
    assert outstanding.count() == 3
    assert not outstanding.wait_for_room(1, time.monotonic() + 0.05)
    threading.Timer(0.05, lambda: sent[2][0].success((0, -1, None))).start()
    assert outstanding.wait_for_room(1, time.monotonic() + 30.0)
    assert outstanding.count() == 2

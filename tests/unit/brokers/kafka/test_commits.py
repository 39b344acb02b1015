"""Commits go one at a time, the newest behind the one under way, and as a last word when partitions go."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kafka import OffsetAndMetadata, TopicPartition

from yadtq_core.brokers.kafka import commits as module
from yadtq_core.brokers.kafka.commits import Commits

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Wire:
    """Keeps what was sent, and answers when told."""

    def __init__(self) -> None:
        self.sent: list[dict[TopicPartition, tuple[int, str]]] = []
        self._callbacks: list[Any] = []

    def __call__(self, offsets: dict[TopicPartition, OffsetAndMetadata], callback: Any) -> None:
        self.sent.append({partition: (offset.offset, offset.metadata) for partition, offset in offsets.items()})
        self._callbacks.append((callback, offsets))

    def answer(self, index: int, answer: object = None) -> None:
        callback, offsets = self._callbacks[index]
        callback(offsets, answer)


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_one_is_under_way_and_the_newest_waits(wire: Wire) -> None:
    commits = Commits(wire)
    for offset in range(1, 6):
        commits.give({A: (offset, f"m{offset}")})
    commits.give({B: (9, "")})
    assert wire.sent == [{A: (1, "m1")}]
    wire.answer(0)
    assert wire.sent[1:] == [{A: (5, "m5"), B: (9, "")}]
    wire.answer(1)
    commits.advance()
    assert len(wire.sent) == 2


def test_the_same_again_is_not_sent_and_a_lower_one_is(wire: Wire) -> None:
    """After a rewind the next commit may be lower than the last."""
    commits = Commits(wire)
    commits.give({A: (5, "")})
    wire.answer(0)
    commits.give({A: (5, "")})
    assert len(wire.sent) == 1
    commits.give({A: (3, "")})
    assert wire.sent[1:] == [{A: (3, "")}]


def test_a_failed_commit_goes_with_the_next(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = Commits(wire)
    commits.give({A: (5, "")})
    wire.answer(0, RuntimeError("rebalance"))
    commits.advance()
    assert len(wire.sent) == 1, "not at once"
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1.0)
    commits.give({B: (2, "")})
    assert wire.sent[1:] == [{A: (5, ""), B: (2, "")}]


def test_the_last_commit_of_lost_partitions_is_the_newest_uncommitted_one(wire: Wire) -> None:
    commits = Commits(wire)
    commits.give({A: (1, ""), B: (1, "")})
    commits.give({A: (2, "new")})
    commits.last_word([A])
    assert wire.sent[1:] == [{A: (2, "new")}]
    wire.answer(1)
    wire.answer(0)
    commits.advance()
    commits.last_word([B])
    assert len(wire.sent) == 2


def test_a_forgotten_partition_is_never_committed(wire: Wire) -> None:
    commits = Commits(wire)
    commits.give({A: (1, "")})
    commits.give({A: (2, ""), B: (2, "")})
    commits.forget([A])
    wire.answer(0)
    assert wire.sent[1:] == [{B: (2, "")}]


def test_a_commit_without_an_answer_does_not_block_the_next_for_ever(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = Commits(wire)
    commits.give({A: (1, "")})
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61.0)
    commits.give({A: (2, "")})
    assert wire.sent[1:] == [{A: (2, "")}]
    wire.answer(0)  # a late answer changes nothing
    commits.give({A: (3, "")})
    assert len(wire.sent) == 2

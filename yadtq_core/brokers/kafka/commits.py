"""The commits of a member: one in progress, the newest behind it, and a last one when partitions are lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition

log = logging.getLogger("yadtq.broker")

METADATA_CHARACTERS = 4096
"""The broker's own default limit (offset.metadata.max.bytes). It refuses a commit whose metadata is longer."""
_RETRY_SECONDS = 0.5
_LOST_SECONDS = 60.0
"""An unanswered commit counts as lost after this time; kafka-python answers within its request timeout."""

Offsets = dict[TopicPartition, OffsetAndMetadata]
Send = Callable[[Offsets, Callable[[Any, Any], None]], object]


class Commits:
    """The commits of one membership.

    `send` is `KafkaConsumer.commit_async`; it calls back from the polling thread. kafka-python refuses more than five
    commits at once, so there is one; the next commit repeats the offsets of a failed one.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._given: Offsets = {}
        self._done: Offsets = {}
        self._under_way: Offsets | None = None
        self._sent_at = 0.0
        self._not_before = 0.0
        self._told = False

    def give(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Take the newest offsets of partitions that this member holds. Metadata is cut at its end to what fits."""
        for partition, (offset, metadata) in offsets.items():
            self._given[partition] = OffsetAndMetadata(offset, metadata[:METADATA_CHARACTERS], -1)
        self.advance()

    def advance(self) -> None:
        """Send the offsets that are not committed yet, unless a commit is in progress."""
        now = time.monotonic()
        if self._under_way is not None and now - self._sent_at < _LOST_SECONDS:
            return
        open_offsets = self._open(self._given)
        if open_offsets and now >= self._not_before:
            self._under_way, self._sent_at = open_offsets, now
            self._send(open_offsets, self._answered)

    def last_word(self, partitions: Collection[TopicPartition]) -> None:
        """Commit the given offsets of partitions that this member loses, and forget them.

        It is sent before the next JoinGroup or LeaveGroup on the same connection, so that the broker has it first. Runs
        on kafka-python's thread: it neither waits nor raises.
        """
        offsets = self._open(partitions)
        self.forget(partitions)
        if offsets:
            self._send(offsets, _last_word_answered)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop all progress of lost partitions."""
        for partition in partitions:
            self._given.pop(partition, None)
            self._done.pop(partition, None)

    def _open(self, partitions: Collection[TopicPartition]) -> Offsets:
        """Return the given offsets of these partitions that are not committed."""
        return {
            partition: self._given[partition]
            for partition in partitions
            if partition in self._given and self._given[partition] != self._done.get(partition)
        }

    def _answered(self, offsets: Offsets, answer: object) -> None:
        if offsets is self._under_way:
            self._under_way = None
        if isinstance(answer, Exception):
            self._not_before = time.monotonic() + _RETRY_SECONDS
            level = logging.DEBUG if self._told else logging.WARNING
            self._told = True
            log.log(level, "a commit failed, and the next one repeats it: %r", answer)
            return
        self._told = False
        for partition, offset in offsets.items():
            if partition in self._given:
                self._done[partition] = offset
        self.advance()


def _last_word_answered(offsets: Offsets, answer: object) -> None:
    if isinstance(answer, Exception):
        log.info("the last commit of %s failed, so some messages will be polled again: %r", sorted(offsets), answer)

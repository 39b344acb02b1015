"""What a member commits: one commit under way, the newest behind it, and the last word when partitions go."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition

log = logging.getLogger("yadtq.broker")

METADATA_CHARACTERS = 4096
"""The broker's own default limit (offset.metadata.max.bytes)."""
_RETRY_SECONDS = 0.5
_LOST_SECONDS = 60.0
"""After so long a commit that nobody answered is taken for lost; kafka-python answers within its request timeout."""

Offsets = dict[TopicPartition, OffsetAndMetadata]
Send = Callable[[Offsets, Callable[[Any, Any], None]], object]


class Commits:
    """The commits of one membership.

    `send` is `KafkaConsumer.commit_async`; it calls back from the thread that polls. More than five commits under
    way fail (kafka-python), so there is one; those that fail go with the next.
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
        """Take the newest offsets of partitions that are ours."""
        for partition, (offset, metadata) in offsets.items():
            self._given[partition] = OffsetAndMetadata(offset, _fitting(partition, metadata), -1)
        self.advance()

    def advance(self) -> None:
        """Send what is not committed yet, unless a commit is under way."""
        now = time.monotonic()
        if self._under_way is not None and now - self._sent_at < _LOST_SECONDS:
            return
        open_offsets = self._open(self._given)
        if open_offsets and now >= self._not_before:
            self._under_way, self._sent_at = open_offsets, now
            self._send(open_offsets, self._answered)

    def last_word(self, partitions: Collection[TopicPartition]) -> None:
        """Commit what was given for partitions that are taken from us, and forget them.

        Sent before the next JoinGroup or LeaveGroup on the same connection, so that the broker has it first. Runs
        on kafka-python's thread: it neither waits nor raises.
        """
        offsets = self._open(partitions)
        self.forget(partitions)
        if offsets:
            self._send(offsets, _last_word_answered)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop all progress of partitions that are not ours any more."""
        for partition in partitions:
            self._given.pop(partition, None)
            self._done.pop(partition, None)

    def _open(self, partitions: Collection[TopicPartition]) -> Offsets:
        """Return what was given of these and is not committed."""
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
            log.log(level, "a commit failed and goes with the next one: %r", answer)
            return
        self._told = False
        for partition, offset in offsets.items():
            if partition in self._given:
                self._done[partition] = offset
        self.advance()


def _fitting(partition: TopicPartition, metadata: str) -> str:
    """Return metadata that the broker takes: one that is too long would keep the offset from being committed."""
    if len(metadata) <= METADATA_CHARACTERS:
        return metadata
    log.error("the metadata of a commit for %s is over %d characters, and left out", partition, METADATA_CHARACTERS)
    return ""


def _last_word_answered(offsets: Offsets, answer: object) -> None:
    if isinstance(answer, Exception):
        log.info("the last commit of %s failed: some of it will be polled again: %r", sorted(offsets), answer)

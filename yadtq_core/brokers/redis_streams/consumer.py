"""One worker's consumer in the groups of its streams (`interfaces.Consumer`). Used by one thread only."""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from yadtq_core.brokers.redis_streams.streams import FIELD, GROUP, LEAVE, TAKE, Streams, entry_of, offset_of
from yadtq_core.errors import EnvelopeError, YadtqError
from yadtq_core.model import Delivery, Partition, Place, Unreadable
from yadtq_core.net.redis_client import Store
from yadtq_core.net.redis_errors import ServerError
from yadtq_core.net.redis_scripts import ScriptCall, evaluate
from yadtq_core.wire import envelope

log = logging.getLogger("yadtq.broker")

TAKE_SECONDS = 1.0
"""Between two looks at what dead consumers have left."""
TAKE_MOST = 200
LONGEST_BLOCK = 1.0
"""Seconds: far less than the time after which a silent connection counts as lost."""
TROUBLE_SECONDS = 0.2
"""A pause after a failed poll."""


class StreamsConsumer:
    """A consumer of all the streams of its queues, under a name that no other start of this worker has.

    What it was given is pending under that name until it is settled. What has been pending for a whole lease (in
    `lease`, seconds) is taken by whoever looks first, this consumer included: so a lost answer costs a lease.
    """

    def __init__(
        self, store: Store, streams: Streams, partitions: Sequence[Partition], member: str, lease: float
    ) -> None:
        self._store = store
        self._keys = {partition: streams.key(partition) for partition in partitions}
        self._of_key = {key.encode(): partition for partition, key in self._keys.items()}
        self._name = f"{member}:{secrets.token_hex(4)}"
        self._lease_ms = round(lease * 1000)
        self._paused: set[Partition] = set()
        self._settled: dict[Partition, list[int]] = {}
        self._ready: list[Delivery | Unreadable] = []
        self._next_take = time.monotonic() + TAKE_SECONDS
        self._in_trouble = False
        self._make_groups()

    def poll(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        """Return up to `max_messages` messages, waiting at most `timeout` seconds for the first; with 0 none.

        What was settled goes out with it. A Redis that is away makes it return nothing.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                self._poll_once(max_messages, min(left, LONGEST_BLOCK))
                self._well()
            except YadtqError as error:
                self._trouble(error, left)
            if self._ready or left <= LONGEST_BLOCK:
                found, self._ready = self._ready[:max_messages], self._ready[max_messages:]
                if self._ready:
                    self._hand_back()
                return found

    def changes(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        """Return nothing: the streams are everybody's."""
        return frozenset(), frozenset()

    def settle(self, places: Sequence[Place]) -> None:
        """Remove these for good, with the next poll."""
        for partition, offset in places:
            self._settled.setdefault(partition, []).append(offset)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Let no more messages of these come."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Let messages of these come again."""
        self._paused.difference_update(partitions)

    def close(self, timeout: float) -> None:
        """Settle what is to be settled, leave the rest to others at once, let go. Never raises."""
        if self._in_trouble:
            return
        with suppress(YadtqError):
            if commands := self._settling():
                self._store.run_many(commands)
            rest = [GROUP, self._name, self._lease_ms, TAKE_MOST]
            evaluate(self._store, [ScriptCall(LEAVE, [key], rest) for key in self._keys.values()])

    def _poll_once(self, most: int, block: float) -> None:
        now = time.monotonic()
        if most > 0 and now >= self._next_take:
            self._next_take = now + TAKE_SECONDS * random.uniform(0.8, 1.2)
            self._take(min(most, TAKE_MOST))
        settling = self._settling()
        reading = self._reading(most - len(self._ready), 0.0 if self._ready else block)
        commands = [*settling, *reading]
        if not commands:
            time.sleep(block)
            return
        answers = self._store.run_many(commands)
        self._settled.clear()
        for answer in answers:
            if isinstance(answer, ServerError):
                raise self._store.translated(answer) from answer
        for key, entries in (answers[-1] or ()) if reading else ():
            self._read(self._of_key[key], entries)

    def _settling(self) -> list[tuple[Any, ...]]:
        """Return the commands that settle. An entry first goes and then is no longer pending: the other way round
        one that lost its connection in between would leave it there for nobody."""
        commands: list[tuple[Any, ...]] = []
        for partition, offsets in self._settled.items():
            key, entries = self._keys[partition], [entry_of(offset) for offset in offsets]
            commands += [("XDEL", key, *entries), ("XACK", key, GROUP, *entries)]
        return commands

    def _reading(self, most: int, block: float) -> list[tuple[Any, ...]]:
        """Return the command that asks for new messages. COUNT is for each stream, so that more may come than asked."""
        keys = [key for partition, key in self._keys.items() if partition not in self._paused]
        if most <= 0 or not keys:
            return []
        waiting = ("BLOCK", max(1, round(block * 1000))) if block > 0 else ()
        count = max(1, most // len(keys))
        return [
            ("XREADGROUP", "GROUP", GROUP, self._name, "COUNT", count, *waiting, "STREAMS", *keys, *[">"] * len(keys))
        ]

    def _hand_back(self) -> None:
        """Leave what came beyond what was asked for to whoever looks first, as if its lease were over."""
        surplus, self._ready = self._ready, []
        commands = [
            ("XCLAIM", self._keys[one.partition], GROUP, self._name, 0, entry_of(one.offset), "IDLE", self._lease_ms)
            for one in surplus
            if one.partition is not None
        ]
        with suppress(YadtqError):  # then it really waits for a lease
            self._store.run_many(commands)

    def _take(self, most: int) -> None:
        """Take over what others have left for a lease."""
        given = [GROUP, self._name, self._lease_ms, most]
        partitions = [partition for partition in self._keys if partition not in self._paused]
        answers = evaluate(self._store, [ScriptCall(TAKE, [self._keys[each]], given) for each in partitions])
        for partition, entries in zip(partitions, answers, strict=True):
            self._read(partition, [(entry, _fields(flat)) for entry, flat in entries])

    def _read(self, partition: Partition, entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        """Decode entries; the loop that every message goes through."""
        decode, ready = envelope.decode, self._ready
        for entry, fields in entries:
            offset = offset_of(entry)
            body = fields.get(FIELD)
            if body is None:
                ready.append(Unreadable(b"", partition, offset, "it has no message"))
                continue
            try:
                ready.append(Delivery(decode(body), body, partition, offset))
            except EnvelopeError as error:
                ready.append(Unreadable(body, partition, offset, str(error), error.task_id))

    def _make_groups(self) -> None:
        for key in self._keys.values():
            make_group(self._store, key)

    def _trouble(self, error: YadtqError, left: float) -> None:
        """Live through a failed poll; make anew what Redis has lost."""
        if not self._in_trouble:
            self._in_trouble = True
            log.warning("reading the streams failed and goes on: %s", error)
        if "NOGROUP" in str(error):
            with suppress(YadtqError):
                self._make_groups()
        else:
            time.sleep(min(left, TROUBLE_SECONDS))

    def _well(self) -> None:
        if self._in_trouble:
            self._in_trouble = False
            log.warning("the streams can be read again")


def make_group(store: Store, key: str) -> None:
    """Make a stream and its group, which begins with the first entry, where they are missing."""
    (answer,) = store.run_many([("XGROUP", "CREATE", key, GROUP, "0", "MKSTREAM")])
    if isinstance(answer, ServerError) and "BUSYGROUP" not in str(answer):
        raise store.translated(answer) from answer


def _fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))

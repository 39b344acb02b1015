"""One worker's consumer in the groups of its streams (`interfaces.Consumer`). Used by one thread only."""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from yadtq_core.brokers.redis_streams.streams import FIELD, GROUP, LEAVE, READ, TAKE, Streams, entry_of, offset_of
from yadtq_core.errors import EnvelopeError, YadtqError
from yadtq_core.model import Delivery, Partition, Place, Unreadable
from yadtq_core.model.messages import MAX_ARGUMENT_BYTES
from yadtq_core.net.redis_client import Store
from yadtq_core.net.redis_errors import ServerError
from yadtq_core.net.redis_scripts import ScriptCall, evaluate
from yadtq_core.wire import envelope

log = logging.getLogger("yadtq.broker")

TAKE_SECONDS = 1.0
"""Between two searches for entries of dead consumers."""
TAKE_MOST = 200
READ_BYTES = 8 * 1024 * 1024
"""A read asks for no more when it has this many bytes; its answer is larger by FEW messages at most."""
FEW = READ_BYTES // MAX_ARGUMENT_BYTES
"""Messages of one command. More are read by a script, because COUNT limits no bytes; but no script can wait."""
LONGEST_BLOCK = 1.0
"""Seconds: far below the time after which a silent connection counts as lost."""
TROUBLE_SECONDS = 0.2
"""Pause after a failed poll."""


class StreamsConsumer:
    """A consumer of all the streams of its queues, under a name that is unique to this start of the worker.

    A delivered entry is pending under that name until it is settled. The first consumer that finds an entry pending
    for a whole lease (`lease`, seconds) takes it, this consumer included: so a lost answer delays an entry by a lease.
    """

    def __init__(
        self, store: Store, streams: Streams, partitions: Sequence[Partition], member: str, lease: float
    ) -> None:
        self._store = store
        self._keys = {partition: streams.key(partition) for partition in partitions}
        self._order = deque(self._keys)
        self._of_key = {key.encode(): partition for partition, key in self._keys.items()}
        self._name = f"{member}:{secrets.token_hex(4)}"
        self._lease_ms = round(lease * 1000)
        self._paused: set[Partition] = set()
        self._settled: dict[Partition, list[int]] = {}
        self._ready: list[Delivery | Unreadable] = []
        self._next_take = time.monotonic() + TAKE_SECONDS
        self._in_trouble = False
        self._more = False
        """The last read left more messages in the streams, as far as it shows."""
        self._make_groups()

    def poll(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        """Return up to `max_messages` messages, waiting at most `timeout` seconds for the first; with 0 none.

        Settled entries are sent with it. During an outage of Redis it returns nothing.
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
                    self._requeue_surplus()
                return found

    def changes(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        """Return nothing: all consumers share every stream."""
        return frozenset(), frozenset()

    def settle(self, places: Sequence[Place]) -> None:
        """Remove these entries with the next poll."""
        for partition, offset in places:
            self._settled.setdefault(partition, []).append(offset)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop delivery from these partitions."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Continue delivery from these partitions."""
        self._paused.difference_update(partitions)

    def close(self, timeout: float) -> None:
        """Settle, leave unsettled entries to other consumers at once, and disconnect. Never raises."""
        if self._in_trouble:
            return
        with suppress(YadtqError):
            if commands := self._settling():
                self._store.run_many(commands)
            rest = [GROUP, self._name, self._lease_ms, TAKE_MOST]
            evaluate(self._store, [ScriptCall(LEAVE, [key], rest) for key in self._keys.values()])

    def _poll_once(self, most: int, block: float) -> None:
        now = time.monotonic()
        self._order.rotate(-1)  # limits are for each stream: a backlog would leave those of others among the surplus
        if most > 0 and now >= self._next_take and self._streams():
            self._next_take = now + TAKE_SECONDS * random.uniform(0.8, 1.2)
            self._take(min(most, TAKE_MOST))
        streams = self._streams()
        if not streams or most <= len(self._ready):
            self._read_nothing(block)
            return
        wanted = most - len(self._ready)
        if wanted < len(streams):  # at least one of each stream would leave a surplus, which waits for a second
            self._read_few(streams[:wanted], wanted, 0.0)
            if self._ready:
                return
        if wanted > FEW and (self._more or not block):
            self._read_many(streams, wanted)
            if self._ready or not block:
                return
        self._read_few(streams, min(wanted, FEW), 0.0 if self._ready else block)

    def _read_nothing(self, block: float) -> None:
        """Settle, or sleep if there is nothing to settle."""
        if settling := self._settling():
            self._run(settling)
        else:
            time.sleep(block)

    def _read_many(self, streams: Sequence[Partition], most: int) -> None:
        """Settle; read what is there, up to READ_BYTES. The limits are for each stream: more may come than `most`."""
        given = [GROUP, self._name, max(1, most // len(streams)), *self._limits(streams)]
        calls = [ScriptCall(READ, [self._keys[each]], given) for each in streams]
        answers = evaluate(self._store, calls, self._settling())
        self._settled.clear()
        for partition, entries in zip(streams, answers, strict=True):
            self._read(partition, [(entry, _fields(flat)) for entry, flat in entries])
        self._more = any(answers)

    def _read_few(self, streams: Sequence[Partition], most: int, block: float) -> None:
        """Settle; read up to `most` messages, at least one of each stream, waiting `block` seconds for the first."""
        count = max(1, most // len(streams))
        keys = [self._keys[each] for each in streams]
        waiting = ("BLOCK", max(1, round(block * 1000))) if block > 0 else ()
        reading = ("XREADGROUP", "GROUP", GROUP, self._name, "COUNT", count, *waiting)
        found = self._run([*self._settling(), (*reading, "STREAMS", *keys, *[">"] * len(keys))])[-1] or ()
        for key, entries in found:
            self._read(self._of_key[key], entries)
        self._more = any(len(entries) == count for _, entries in found)

    def _streams(self) -> list[Partition]:
        return [partition for partition in self._order if partition not in self._paused]

    def _limits(self, streams: Sequence[Partition]) -> tuple[int, int]:
        """Return the bytes and the few messages of each stream for a script."""
        return READ_BYTES // len(streams), max(1, FEW // len(streams))

    def _run(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands that settle, and perhaps one more; return the answers. Raises the first error."""
        answers = self._store.run_many(commands)
        self._settled.clear()
        for answer in answers:
            if isinstance(answer, ServerError):
                raise self._store.translated(answer) from answer
        return answers

    def _settling(self) -> list[tuple[Any, ...]]:
        """Return the commands that settle. XDEL comes before XACK: if the connection is lost between the two, an entry
        that is acknowledged and not deleted would stay in the stream for no consumer."""
        commands: list[tuple[Any, ...]] = []
        for partition, offsets in self._settled.items():
            key, entries = self._keys[partition], [entry_of(offset) for offset in offsets]
            commands += [("XDEL", key, *entries), ("XACK", key, GROUP, *entries)]
        return commands

    def _requeue_surplus(self) -> None:
        """Leave the entries beyond the requested number to any consumer, as if their lease were over."""
        surplus, self._ready = self._ready, []
        commands = [
            ("XCLAIM", self._keys[one.partition], GROUP, self._name, 0, entry_of(one.offset), "IDLE", self._lease_ms)
            for one in surplus
            if one.partition is not None
        ]
        with suppress(YadtqError):  # then they wait for a lease
            self._store.run_many(commands)

    def _take(self, most: int) -> None:
        """Take entries that other consumers have left pending for a lease."""
        partitions = self._streams()
        given = [GROUP, self._name, self._lease_ms, most, *self._limits(partitions)]
        answers = evaluate(self._store, [ScriptCall(TAKE, [self._keys[each]], given) for each in partitions])
        for partition, entries in zip(partitions, answers, strict=True):
            self._read(partition, [(entry, _fields(flat)) for entry, flat in entries])

    def _read(self, partition: Partition, entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        """Decode entries; every message passes this loop."""
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
        """Log and survive a failed poll; create groups again that Redis has lost."""
        if not self._in_trouble:
            self._in_trouble = True
            log.warning("reading the streams failed and continues: %s", error)
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
    """Create a stream and its group, which begins with the first entry, if they are missing."""
    (answer,) = store.run_many([("XGROUP", "CREATE", key, GROUP, "0", "MKSTREAM")])
    if isinstance(answer, ServerError) and "BUSYGROUP" not in str(answer):
        raise store.translated(answer) from answer


def _fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))

"""The records of one call: read together, changed by the rules, written together with all that follows from them.

No rule changes an index. The entries of the indexes, the counters, and the end of a kept message all follow from the
records when these are written, so they cannot disagree with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeVar

import msgspec

from yadtq_core.model import Counts
from yadtq_core.model.terms import LONGEST_CHECK_MS
from yadtq_core.records.epochs import EpochState
from yadtq_core.records.indexes import OPEN, index_of
from yadtq_core.records.moment import Moment
from yadtq_core.records.record import DamagedRecord, StoredRecord, decode, encode
from yadtq_core.records.store import Entry, Transaction

EPOCH, COUNTS, MESSAGE = "epoch", "counts", "message:"
"""The names of values; a message's ends with its ID."""

A = TypeVar("A")
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_counts = msgspec.json.Decoder(dict[str, int])
_epoch = msgspec.json.Decoder(EpochState)


class RecordBatch:
    """What one transaction reads and writes. `ids` are the IDs of the call, in its order."""

    def __init__(self, tx: Transaction, moment: Moment, ids: Sequence[str]) -> None:
        self.tx = tx
        self.moment = moment
        self.ids = ids
        self._stored = tx.read(ids)
        self._found: dict[str, StoredRecord] = {}
        self._before: dict[str, str] = {}
        self._values: dict[str, bytes | None] = {}
        self._entries: list[Entry] = []
        self._reindexed: set[str] = set()
        self._epoch_read = b""

    @cached_property
    def epoch(self) -> EpochState:
        """The store's epoch; a rule may change it."""
        self._epoch_read = self.tx.get([EPOCH]).get(EPOCH, b"{}")
        return _epoch.decode(self._epoch_read)

    def each(
        self,
        asked: Sequence[A],
        rule: Callable[[StoredRecord | None, A, Moment], T],
        if_damaged: Callable[[str, str], T],
    ) -> list[T]:
        """Return what the rule answers for each ID and what was asked about it.

        if_damaged: answers for a record that cannot be read; called with its ID and what is wrong.
        """
        answers: list[T] = []
        for task_id, one in zip(self.ids, asked, strict=True):
            try:
                answers.append(rule(self._find(task_id), one, self.moment))
            except DamagedRecord as damage:
                answers.append(if_damaged(task_id, str(damage)))
        return answers

    def records(self) -> list[StoredRecord | None]:
        """Return the records, None for one that does not exist, has expired, or is damaged."""
        return self.each(self.ids, lambda record, *_: record, lambda *_: None)

    def add(self, record: StoredRecord, body: bytes) -> StoredRecord:
        """Add a new record with its message."""
        self._found[record.id] = record
        self._values[MESSAGE + record.id] = body
        return record

    def reindex(self, ids: Sequence[str]) -> None:
        """Write these records even if they have not changed: the store may have them in the wrong index."""
        self._reindexed.update(ids)

    def postpone(self, task_id: str, _reason: str) -> None:
        """Let a sweep look at a damaged record half an hour later, and leave its bytes as they are."""
        later = self.moment.now + LONGEST_CHECK_MS
        self._entries.append(Entry(task_id, self._stored[task_id], (OPEN, later), None, None, ended=False))

    def write(self) -> None:
        """Write what has changed."""
        deltas: dict[str, int] = {}
        for task_id, record in self._found.items():
            data = encode(record)
            if data != self._stored.get(task_id) or task_id in self._reindexed:
                self._write_one(record, data, deltas)
        if self._entries:
            self.tx.write(self._entries)
        if any(deltas.values()):
            counted = _counters(self.tx)
            changed = {name: counted.get(name, 0) + delta for name, delta in deltas.items()}
            self._values[COUNTS] = _encode({name: count for name, count in (counted | changed).items() if count})
        if self._epoch_read and (epoch := _encode(self.epoch)) != self._epoch_read:
            self._values[EPOCH] = epoch
        if self._values:
            self.tx.put(self._values)

    def _find(self, task_id: str) -> StoredRecord | None:
        if task_id not in self._found and (data := self._stored.get(task_id)) is not None:
            record = decode(data)
            if record.expires_at is None or record.expires_at > self.moment.now:
                self._found[task_id] = record
                self._before[task_id] = _counter(record)
        return self._found.get(task_id)

    def _write_one(self, record: StoredRecord, data: bytes, deltas: dict[str, int]) -> None:
        before, after = self._before.get(record.id), _counter(record)
        if before is not None:
            deltas[before] = deltas.get(before, 0) - 1
        deltas[after] = deltas.get(after, 0) + 1
        ended = record.ended and before != after
        self._entries.append(Entry(record.id, data, index_of(record), record.incarnation, record.expires_at, ended))
        if record.expires_at is not None:
            self._values[MESSAGE + record.id] = None


def messages(tx: Transaction, ids: Sequence[str]) -> dict[str, bytes]:
    """Return the kept messages, by their IDs."""
    found = tx.get([MESSAGE + task_id for task_id in ids])
    return {name.removeprefix(MESSAGE): body for name, body in found.items()}


def counts(tx: Transaction) -> Counts:
    """Return how many records there are, by queue and status and by how they ended."""
    queues: dict[str, dict[str, int]] = {}
    ended: dict[str, int] = {}
    for name, count in _counters(tx).items():
        queue, _, status = name.rpartition(":")
        (queues.setdefault(queue, {}) if queue else ended)[status] = count
    return Counts(queues, ended)


def _counters(tx: Transaction) -> dict[str, int]:
    return _counts.decode(tx.get([COUNTS]).get(COUNTS, b"{}"))


def _counter(record: StoredRecord) -> str:
    """Return the name of the counter of a record: `QUEUE:STATUS`, `:STATUS` once it has ended."""
    return f"{'' if record.ended else record.queue}:{record.status.value}"

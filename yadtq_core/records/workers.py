"""The rows of workers in a store: one value a worker, and one that lists them with the time of their last heartbeat."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from yadtq_core.model import WorkerIdentity, WorkerRow, WorkerStats
from yadtq_core.model.terms import LISTED_MS
from yadtq_core.records.moment import Moment
from yadtq_core.records.store import Transaction

LIST = "workers"


class _Row(msgspec.Struct):
    identity: WorkerIdentity
    stats: WorkerStats


_row = msgspec.json.Decoder(_Row)
_times = msgspec.json.Decoder(dict[str, int])


class WorkerList(NamedTuple):
    """The workers seen within the last hour."""

    tx: Transaction
    moment: Moment

    def beat(self, worker: WorkerIdentity, stats: WorkerStats) -> None:
        """Write a worker's row; remove those that have sent no heartbeat for an hour."""
        name = f"worker:{worker.id}:{worker.incarnation}"
        seen = self._seen() | {name: self.moment.now}
        kept = {name: at for name, at in seen.items() if at > self.moment.now - LISTED_MS}
        row = msgspec.json.encode(_Row(worker, stats))
        self.tx.put(dict.fromkeys(seen.keys() - kept) | {LIST: msgspec.json.encode(kept), name: row})

    def within(self, ms: int) -> list[WorkerRow]:
        """Return the rows of workers seen within the last `ms` milliseconds, by name; other rows are not read."""
        seen = {name: at for name, at in self._seen().items() if self.moment.now - at <= ms}
        rows = [self._row(_row.decode(row), seen[name]) for name, row in self.tx.get(list(seen)).items()]
        return sorted(rows, key=lambda row: (row.identity.id, row.identity.incarnation))

    def online(self) -> list[WorkerRow]:
        """Return the rows of workers that are online now, by name; rows older than a lease are not read."""
        return [row for row in self.within(self.moment.limits.lease) if row.online]

    def _row(self, row: _Row, seen: int) -> WorkerRow:
        online = self.moment.now - seen < self.moment.limits.lease and row.stats.state != "offline"
        return WorkerRow(row.identity, row.stats, seen / 1000, online=online)

    def _seen(self) -> dict[str, int]:
        return _times.decode(self.tx.get([LIST]).get(LIST, b"{}"))

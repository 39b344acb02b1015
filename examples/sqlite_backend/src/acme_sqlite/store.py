"""A store of task records in SQLite (`yadtq_core.records.RecordStore`), for processes of one machine."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from yadtq_core.errors import BackendUnavailable, ConfigurationRefused
from yadtq_core.interfaces import Finding, Level
from yadtq_core.records import Entry

BUSY_SECONDS = 5.0
"""The longest wait for the transaction of another process."""
REFUSED = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOTADB}
"""Errors that stay until an operator acts: the low byte of SQLite's code."""
SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS records (
    id TEXT PRIMARY KEY, data BLOB NOT NULL, listed TEXT, score INTEGER, holder TEXT, expires INTEGER
);
CREATE INDEX IF NOT EXISTS records_by_score ON records (listed, score) WHERE listed IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_by_holder ON records (holder) WHERE holder IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_by_expiry ON records (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS named (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


class SqliteStore:
    """One file. One connection and one lock: SQLite has one writer at a time anyway."""

    run_id = "1"
    """A constant: with synchronous = FULL an acknowledged write survives a crash of the machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def now_us(self) -> int:
        """Return this machine's clock."""
        return time.time_ns() // 1000

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """Begin a transaction that excludes every other writer of the file."""
        with self._lock, _translated(self._path):
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteTransaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                connection.executescript(SCHEMA)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def listen(self) -> None:
        """Return None: SQLite does not tell one process what another has written."""
        return

    def check(self) -> None:
        """Raise unless the file can be opened and written."""
        with self.transaction() as tx:
            tx.put({})

    def findings(self) -> Sequence[Finding]:
        """Return the number of records."""
        with self.transaction() as tx:
            count = tx.count()
        return [Finding("backend", Level.OK, f"{count} records in {self._path}")]

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class SqliteTransaction:
    """A transaction under way."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._run_many = connection.executemany

    def read(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """Return the bytes of the records that exist."""
        return dict(self._run("SELECT id, data FROM records WHERE id IN (SELECT value FROM json_each(?))", _list(ids)))

    def write(self, entries: Sequence[Entry]) -> None:
        """Insert or replace these records."""
        rows = [(one.id, one.data, *(one.listed or (None, None)), one.holder, one.expires_ms) for one in entries]
        query = "REPLACE INTO records (id, data, listed, score, holder, expires) VALUES (?, ?, ?, ?, ?, ?)"
        self._run_many(query, rows)

    def first(self, index: str, low: int, high: int, limit: int) -> Sequence[str]:
        """Return the IDs of the records with the lowest scores of this range."""
        query = "SELECT id FROM records WHERE listed = ? AND score >= ? AND score < ? ORDER BY score LIMIT ?"
        return _column(self._run(query, (index, low, high, limit)))

    def highest(self, index: str, low: int, high: int) -> int | None:
        """Return the highest score of this range."""
        query = "SELECT max(score) FROM records WHERE listed = ? AND score >= ? AND score < ?"
        return _number(self._run(query, (index, low, high)))

    def size(self, index: str) -> int:
        """Return how many records an index lists."""
        return _number(self._run("SELECT count(*) FROM records WHERE listed = ?", (index,))) or 0

    def held(self, holder: str) -> Sequence[str]:
        """Return the IDs of the records with this holder."""
        return _column(self._run("SELECT id FROM records WHERE holder = ?", (holder,)))

    def purge(self, now_ms: int) -> None:
        """Remove what has expired."""
        self._run("DELETE FROM records WHERE expires <= ?", (now_ms,))

    def get(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return the values that exist."""
        query = "SELECT name, value FROM named WHERE name IN (SELECT value FROM json_each(?))"
        return dict(self._run(query, _list(names)))

    def put(self, values: Mapping[str, bytes | None]) -> None:
        """Insert, replace or remove these values."""
        self._run("DELETE FROM named WHERE name IN (SELECT value FROM json_each(?))", _list(list(values)))
        kept = [(name, value) for name, value in values.items() if value is not None]
        self._run_many("INSERT INTO named (name, value) VALUES (?, ?)", kept)

    def count(self) -> int:
        """Return the number of records."""
        return _number(self._run("SELECT count(*) FROM records")) or 0


def _list(texts: Sequence[str]) -> tuple[str]:
    return (json.dumps(texts),)


def _column(cursor: sqlite3.Cursor) -> list[str]:
    return [row[0] for row in cursor]


def _number(cursor: sqlite3.Cursor) -> int | None:
    number: int | None = cursor.fetchone()[0]
    return number


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as those of yadtq."""
    try:
        yield
    except sqlite3.Error as error:
        kind = ConfigurationRefused if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in REFUSED else BackendUnavailable
        raise kind(f"SQLite at {path}: {error}") from error

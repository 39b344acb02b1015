"""The ledger that tasks of the fault runs write to, outside yadtq: it refuses a fence lower than its latest one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

LEDGER = "FAULTS_LEDGER"
"""The variable that names the ledger's file."""
_WAIT_SECONDS = 60.0


def put(task_id: str, fence: int) -> bool:
    """Write the effect of a run; False if the ledger has a newer one."""
    with _ledger() as ledger:
        changed = ledger.execute(
            "INSERT INTO effects VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET fence = excluded.fence "
            "WHERE excluded.fence > effects.fence",
            (task_id, fence),
        )
        return changed.rowcount == 1


def failures(task_id: str) -> int:
    """Return how many runs of a task have failed on purpose."""
    with _ledger() as ledger:
        (count,) = ledger.execute("SELECT COUNT(*) FROM failures WHERE id = ?", (task_id,)).fetchone()
        return int(count)


def fail_once(task_id: str, fence: int) -> None:
    """Remember that a run fails on purpose."""
    with _ledger() as ledger:
        ledger.execute("INSERT INTO failures VALUES (?, ?)", (task_id, fence))


@contextmanager
def _ledger() -> Iterator[sqlite3.Connection]:
    ledger = sqlite3.connect(os.environ[LEDGER], timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        ledger.execute("PRAGMA synchronous = OFF")
        ledger.execute("CREATE TABLE IF NOT EXISTS effects (id TEXT PRIMARY KEY, fence INTEGER)")
        ledger.execute("CREATE TABLE IF NOT EXISTS failures (id TEXT, fence INTEGER)")
        yield ledger
    finally:
        ledger.close()

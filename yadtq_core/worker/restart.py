"""Restart recovery: a worker that starts again requeues the tasks of its predecessor, without waiting for their leases.

The predecessor is a worker with the same ID and host whose process is gone. This is wrong only if two workers share
both and cannot see each other's processes (containers with one host name): a task then runs twice under two fences,
and its first outcome is refused.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec.structs import replace

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Release, ReleaseReason, WorkerIdentity, WorkerRow

log = logging.getLogger("yadtq.worker")


def recover(backend: Backend, me: WorkerIdentity) -> None:
    """Requeue the tasks that the predecessors of this worker held, and report these workers as offline.

    Each run counts as lost, as it does when its lease ends: a task that kills its worker must not run for ever. If the
    backend does not answer, the leases expire instead.
    """
    try:
        for row in predecessors(backend.workers(), me, process_started):
            _requeue(backend, row)
    except YadtqError as error:
        log.warning("the tasks of the last worker %s wait until their leases end: %s", me.id, error)


def _requeue(backend: Backend, row: WorkerRow) -> None:
    gone = row.identity
    holds = backend.held(gone)
    backend.release(
        [Release(one.id, one.queue, one.fence, ReleaseReason.WORKER_LOST, lost=True) for one in holds], gone
    )
    # Only now: the next recovery ignores a worker that is offline and idle.
    backend.heartbeat(gone, replace(row.stats, state="offline", running=0, free=0), ())
    log.warning("worker %s (process %d) is gone: %d of its tasks were requeued", gone.id, gone.pid, len(holds))


def predecessors(
    rows: Iterable[WorkerRow], me: WorkerIdentity, started: Callable[[int], float | None]
) -> list[WorkerRow]:
    """Return the workers that this one replaces, without those that went offline when nothing ran.

    started: as `process_started`.
    """
    return [
        row
        for row in rows
        if (row.identity.id, row.identity.host) == (me.id, me.host)
        and row.identity.incarnation != me.incarnation
        and (row.stats.state != "offline" or row.stats.running)
        and _is_gone(row.identity, me, started)
    ]


def _is_gone(other: WorkerIdentity, me: WorkerIdentity, started: Callable[[int], float | None]) -> bool:
    """True when its process is gone: no process has its ID, or the one that has it started at another time.

    In a container that was restarted, this process may have its ID.
    """
    if other.pid == me.pid:
        return True
    now = started(other.pid)
    return now is None or (now > 0 and other.process_started > 0 and now != other.process_started)


def process_started(pid: int) -> float | None:
    """Return when a process started, in seconds since boot; together with the ID this identifies a process.

    None: there is no such process, or it is a zombie. 0: the process exists and its start is unknown.
    """
    try:
        # proc(5): the name may contain any character; after it come the state and, as 20th field, the start in ticks.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0 if _exists(pid) else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True

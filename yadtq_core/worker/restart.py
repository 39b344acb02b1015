"""A worker that comes back gives back what its last life held: a restart then costs a second, not a lease.

Its last life is a worker of the same ID and host whose process is gone. That can be wrong only where two workers
share both and cannot see each other's processes (containers given one host name): a task is then run twice under two
fences, and the first outcome refused.
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


def requeue_of_last_life(backend: Backend, me: WorkerIdentity) -> None:
    """Release what workers held whose place this one takes, and list them as offline.

    Each run counts as lost, as it does when its lease ends: a task that kills its worker must not go round for ever.
    Where the backend does not answer, the leases end by themselves.
    """
    try:
        for row in last_lives(backend.workers(), me, process_started):
            _give_back(backend, row)
    except YadtqError as error:
        log.warning("what an earlier worker %s held waits for the end of its leases: %s", me.id, error)


def _give_back(backend: Backend, row: WorkerRow) -> None:
    gone = row.identity
    holds = backend.held(gone)
    backend.release([Release(one.id, one.fence, ReleaseReason.WORKER_LOST, lost=True) for one in holds], gone)
    # Only now: who finds this row offline and idle does not look for what it held.
    backend.heartbeat(gone, replace(row.stats, state="offline", running=0, free=0), ())
    log.warning("worker %s (process %d) is gone; given back: %d", gone.id, gone.pid, len(holds))


def last_lives(
    rows: Iterable[WorkerRow], me: WorkerIdentity, started: Callable[[int], float | None]
) -> list[WorkerRow]:
    """Return the workers in whose place this one comes; those that said goodbye with nothing running need nothing.

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
    """Return whether its process is gone: none has its process ID, or one that began at another time.

    In a container that was started again that one is this very process.
    """
    if other.pid == me.pid:
        return True
    now = started(other.pid)
    return now is None or (now > 0 and other.process_started > 0 and now != other.process_started)


def process_started(pid: int) -> float | None:
    """Return when a process started, in seconds since boot: with its ID that names it for good.

    None: there is no such process, or it is dead and only not yet waited for. 0: it is there, no more can be told.
    """
    try:
        # proc(5): after the name, which may hold anything, come the state and at the 20th place the start in ticks.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0 if _is_there(pid) else None


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True

"""`yadtq monitor`: print workers and task counts, once or at an interval."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from yadtq_core import Client, Status
from yadtq_core.cli.opening import open_client
from yadtq_core.cli.options import CommonOptions, common, seconds
from yadtq_core.cli.output import complain, escape, say_lines, to_json
from yadtq_core.errors import Unavailable
from yadtq_core.model import Counts, WorkerRow

_ALWAYS = (Status.QUEUED, Status.PROCESSING, Status.SUCCESS, Status.FAILED)
_IF_ANY = tuple(status for status in Status if status not in _ALWAYS)

Show = Callable[[str], None]


@common
def monitor(
    given: CommonOptions,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print once and end.")] = False,
    interval: Annotated[str, typer.Option(metavar="S", help="The interval (2, 500ms).")] = "2",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object each time.")] = False,
) -> None:
    """Show workers and the number of tasks in each status, until ctrl-C or once with --once.

    For example:

        yadtq monitor --once
    """
    pause = seconds("--interval", interval, 0.1, 3600)
    with open_client(given.load().settings) as client:
        if once:
            say_lines(_look(client, as_json=as_json))
        elif sys.stdout.isatty() and not as_json:
            with _screen() as show:
                _watch(client, pause, show, as_json=False)
        else:
            _watch(client, pause, say_lines, as_json=as_json)


def _watch(client: Client, pause: float, show: Show, *, as_json: bool) -> None:
    """Print at each interval. While the backend is away, print an error with the age of the last answer."""
    seen, at = "", time.monotonic()
    while True:
        try:
            seen, at = _look(client, as_json=as_json), time.monotonic()
            show(seen)
        except Unavailable as error:
            if not seen:
                raise
            complain(f"Error: {error}; last seen {time.monotonic() - at:.0f} s ago")
        time.sleep(pause)


def _look(client: Client, *, as_json: bool) -> str:
    workers, counts = client.workers(), client.counts()
    return to_json(as_object(workers, counts)) if as_json else as_text(workers, counts)


def as_text(workers: Any, counts: Counts) -> str:
    """Return the text: one line per worker, and the counts as a Python dict."""
    shown = {status.value: counts.total(status) for status in _ALWAYS}
    shown |= {status.value: n for status in _IF_ANY if (n := counts.total(status))}
    rows = [
        f"worker:{row.identity.id} state {row.state} last_seen {int(row.last_seen)} "
        f"tasks_executed {row.stats.tasks_executed}"
        for row in workers
    ]
    return "\n".join(["=== WORKERS ===", *map(escape, rows), f"=== TASKS === {shown}"])


def as_object(workers: Any, counts: Counts) -> dict[str, Any]:
    """Return the object that `monitor --json` prints."""
    return {
        "workers": [_worker(row) for row in workers],
        "tasks": {status.value: counts.total(status) for status in (*_ALWAYS, *_IF_ANY)},
        "queues": [
            {"queue": name, **{one: by.get(one, 0) for one in ("queued", "processing", "scheduled")}}
            for name, by in sorted(counts.queues.items())
        ],
    }


def _worker(row: WorkerRow) -> dict[str, Any]:
    stats, identity = row.stats, row.identity
    return {
        "worker_id": identity.id,
        "state": row.state,
        "last_seen": row.last_seen,
        "tasks_executed": stats.tasks_executed,
        "running": stats.running,
        "incarnation": identity.incarnation,
        "host": identity.host,
        "pid": identity.pid,
        "slots": stats.slots,
        "free": stats.free,
        "queues": stats.queues,
        "tasks": stats.tasks,
        "memory": stats.memory,
        "version": stats.version,
    }


@contextmanager
def _screen() -> Iterator[Show]:
    """Yield a function that replaces the text on the screen."""
    from rich.console import Console  # noqa: PLC0415  (50 ms, needed on a terminal only)
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with Live(console=Console(), auto_refresh=False) as live:

        def show(text: str) -> None:
            moment = time.strftime("%H:%M:%S")
            live.update(Text(f"{text}\n\n{moment}, ctrl-C ends"), refresh=True)

        yield show

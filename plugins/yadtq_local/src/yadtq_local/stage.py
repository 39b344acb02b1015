"""The output of the demo: lines, and on a terminal below them a live picture of workers and tasks."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from yadtq_core import Client, Record, Status, YadtqError
from yadtq_core.cli import escape, progress_text, say
from yadtq_core.interfaces import WorkerRow

LOOK_SECONDS = 0.2
WIDE = 92
"""The columns of a terminal from which workers and tasks are side by side."""
_STATE = {"online": "green", "stopping": "yellow", "offline": "bold red"}
_STATUS = {Status.SUCCESS: "green", Status.FAILED: "bold red", Status.PROCESSING: "yellow", Status.QUEUED: "dim"}
_SHOWN = (Status.QUEUED, Status.PROCESSING, Status.SUCCESS, Status.FAILED)


class Stage:
    """Prints lines, each with the seconds since the start."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def tell(self, line: str, style: str = "") -> None:
        """Print one line. style: a colour, used on a terminal."""
        say(f"{time.monotonic() - self._begun:5.1f} s  {line}")

    def watch(self, client: Client, tasks: Mapping[str, str]) -> None:
        """Start the picture of workers and these tasks (name → ID), on a terminal."""

    def done(self) -> None:
        """Stop updating the picture."""


class LiveStage(Stage):
    """Prints lines on a terminal, with a live picture below them."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._over = threading.Event()
        self._watcher: threading.Thread | None = None

    def tell(self, line: str, style: str = "") -> None:
        """Print one line: above the picture while it is live, below it afterwards."""
        text = Text(f"{time.monotonic() - self._begun:5.1f} s  ", style="dim")
        self._console.print(text.append(escape(line), style=f"not dim {style}"))

    def watch(self, client: Client, tasks: Mapping[str, str]) -> None:
        """Update the picture of workers and tasks until `done`."""
        self._live.start()
        self._watcher = threading.Thread(target=self._look, args=(client, tasks), name="yadtq-demo", daemon=True)
        self._watcher.start()

    def done(self) -> None:
        """Update the picture once more and stop."""
        self._over.set()
        if self._watcher is not None:
            self._watcher.join(5.0)
            self._watcher = None
            self._live.stop()
            self._console.print()

    def _look(self, client: Client, tasks: Mapping[str, str]) -> None:
        last = False
        while not last:
            last = self._over.wait(LOOK_SECONDS)
            with suppress(YadtqError):
                self._live.update(picture(client, tasks, self._console.width), refresh=True)


def picture(client: Client, tasks: Mapping[str, str], width: int) -> RenderableType:
    """Return tables of the workers and of these tasks, and the counts of all tasks."""
    workers = client.workers()
    records = dict(zip(tasks, client.query(tasks.values()), strict=True))
    counts = client.counts()
    both = [_workers(workers), _tasks(records, {row.identity.id for row in workers if not row.online})]
    totals = Text("all tasks:  ", style="dim")
    for status in _SHOWN:
        number = counts.total(status)
        totals.append(f"{status.value} {number}  ", style=f"not dim {_STATUS[status]}" if number else "dim")
    if width < WIDE:
        return Group(Text(), both[0], Text(), both[1], Text(), totals)
    side_by_side = Table.grid(padding=(0, 5, 0, 0))
    side_by_side.add_row(*both)
    return Group(Text(), side_by_side, Text(), totals)


def _workers(rows: Sequence[WorkerRow]) -> Table:
    table = _table("worker", "state", "executed", "last seen")
    now = time.time()
    for row in rows:
        seen = f"{max(0.0, now - row.last_seen):4.1f} s ago"
        table.add_row(row.identity.id, Text(row.state, _STATE.get(row.state, "")), str(row.stats.tasks_executed), seen)
    return table


def _tasks(records: Mapping[str, Record | None], dead: set[str]) -> Table:
    table = _table("task", "status", "on", "run", "progress")
    for name, record in records.items():
        if record is None:
            continue
        lost = record.worker_id in dead and record.finished_at is None
        table.add_row(
            name,
            Text(record.status.value, _STATUS.get(record.status, "")),
            Text(record.worker_id or "", "bold red" if lost else ""),
            str(record.attempt or ""),
            progress_text(record.progress) if record.progress and record.status is Status.PROCESSING else "",
        )
    return table


def _table(*names: str) -> Table:
    return Table(*names, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Yield the stage for this stdout: a terminal or not."""
    console = Console(highlight=False)
    stage = LiveStage(console) if console.is_terminal and not console.is_dumb_terminal else Stage()
    try:
        yield stage
    finally:
        stage.done()

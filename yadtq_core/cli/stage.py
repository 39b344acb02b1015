"""What the demo is shown on: plain lines, and below them on a terminal a live picture of workers and tasks."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from yadtq_core.cli.output import escape, say
from yadtq_core.client.client import Client
from yadtq_core.errors import YadtqError
from yadtq_core.model import Status

LOOK_SECONDS = 0.25
_COLOURS = {"online": "green", "stopping": "yellow", "offline": "red"}


class Stage:
    """Tells the story a line at a time, each with its time."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def tell(self, line: str) -> None:
        """Tell one line."""
        say(f"{time.monotonic() - self._begun:5.1f} s  {line}")

    def watch(self, client: Client) -> None:
        """Show what this client sees from now on, where there is a picture."""

    def done(self) -> None:
        """There is nothing more to look at."""


class LiveStage(Stage):
    """The same on a terminal, with a live picture below the lines."""

    def __init__(self, live: Live) -> None:
        super().__init__()
        self._live = live
        self._over = threading.Event()
        self._watcher: threading.Thread | None = None

    def tell(self, line: str) -> None:
        """Tell one line above the picture."""
        text = Text(f"{time.monotonic() - self._begun:5.1f} s  ", style="dim")
        self._live.console.print(text.append(escape(line), style="not dim"))

    def watch(self, client: Client) -> None:
        """Show workers and counts until `done`."""
        self._watcher = threading.Thread(target=self._look, args=(client,), name="yadtq-demo", daemon=True)
        self._watcher.start()

    def done(self) -> None:
        """Take the last look."""
        self._over.set()
        if self._watcher is not None:
            self._watcher.join(5.0)

    def _look(self, client: Client) -> None:
        last = False
        while not last:
            last = self._over.wait(LOOK_SECONDS)
            with suppress(YadtqError):
                self._live.update(picture(client), refresh=True)


def picture(client: Client) -> Group:
    """Return workers and counts as tables."""
    workers = Table(
        "worker", "state", "running", "executed", "last seen", box=None, pad_edge=False, header_style="bold"
    )
    now = time.time()
    for row in client.workers():
        state = row.stats.state if row.online else "offline"
        seen = f"{max(0.0, now - row.last_seen):.1f} s ago"
        shown = Text(state, style=_COLOURS.get(state, ""))
        workers.add_row(row.identity.id, shown, str(row.stats.running), str(row.stats.tasks_executed), seen)
    counts = client.counts()
    shown_statuses = (Status.QUEUED, Status.PROCESSING, Status.SUCCESS, Status.FAILED)
    totals = Text("  ".join(f"{status.value} {counts.total(status)}" for status in shown_statuses), style="bold")
    return Group(Text(), workers, Text(), totals)


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Yield the stage that fits where stdout goes."""
    console = Console()
    if not console.is_terminal or not sys.stdout.isatty():
        yield Stage()
        return
    with Live(console=console, auto_refresh=False) as live:
        stage = LiveStage(live)
        try:
            yield stage
        finally:
            stage.done()

"""`yadtq query`: what the records say, now or until the tasks have ended."""

from typing import Annotated, Any

import typer

from yadtq_core import Client
from yadtq_core.cli.options import Given, common
from yadtq_core.cli.output import complain, say, say_json
from yadtq_core.cli.record import say_record
from yadtq_core.client.records import record_as_json
from yadtq_core.errors import TaskNotFound
from yadtq_core.model import ENDED, Record, check_id

LOOK_SECONDS = 0.5
"""How often `--follow` looks for progress; the end itself is pushed."""


@common
def query(
    given: Given,
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="IDs of tasks.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until all have ended.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Show worker, attempts, times, traceback, all of a result.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a task.")] = False,
) -> None:
    """Show status and result of tasks. A failed task is exit 0: the question was answered.

    For example:

        yadtq query 0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11
    """
    wanted = list(dict.fromkeys(map(check_id, ids)))
    show = _Shower(full=full, as_json=as_json)
    with Client(given.load().settings) as client:
        if follow:
            _follow(client, wanted, show)
        else:
            show.all(wanted, client.query(wanted))
    if show.missing:
        raise typer.Exit(TaskNotFound.exit_code)


def _follow(client: Client, ids: list[str], show: "_Shower") -> None:
    """Show each record when it is first seen and whenever it has changed, until all have ended."""
    seen: dict[str, Record | None] = {}
    records = client.query(ids)
    while True:
        changed = [
            (one, record)
            for one, record in zip(ids, records, strict=True)
            if one not in seen or _news(seen[one], record)
        ]
        show.all([one for one, _ in changed], [record for _, record in changed])
        seen |= changed
        left = [one for one in ids if (record := seen[one]) is not None and record.status not in ENDED]
        if not left:
            return
        client.wait_all(map(client.handle, left), timeout=LOOK_SECONDS)
        records = client.query(ids)


def _news(old: Record | None, new: Record | None) -> bool:
    def told(record: Record | None) -> Any:
        return record and (record.status, record.attempt, record.progress, record.note, record.worker_id)

    return bool(told(old) != told(new))


class _Shower:
    """Prints records, and remembers whether one was missing."""

    def __init__(self, *, full: bool, as_json: bool) -> None:
        self._full = full
        self._as_json = as_json
        self._several = False
        self.missing = False

    def all(self, ids: list[str], records: list[Record | None]) -> None:
        """Print each record, a blank line between two; say of a missing one that it is."""
        for task_id, record in zip(ids, records, strict=True):
            if record is None:
                self.missing = True
                complain(f"Error: {TaskNotFound(task_id)}")
            elif self._as_json:
                say_json(record_as_json(record))
            else:
                if self._several:
                    say()
                say_record(record, full=self._full)
                self._several = True

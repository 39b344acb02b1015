"""`yadtq query`: what the records say, now or until the tasks have ended."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from yadtq_core import Client
from yadtq_core.cli.opening import open_client
from yadtq_core.cli.options import Given, common
from yadtq_core.cli.output import complain, say, say_json
from yadtq_core.cli.record import say_record, say_row
from yadtq_core.cli.sources import STDIN, rows_of
from yadtq_core.client.results import record_as_json
from yadtq_core.errors import InvalidId, InvalidInput, TaskNotFound
from yadtq_core.model import ENDED, Record, check_id

MAX_LINE_BYTES = 4096
"""Of an ID on stdin, with a remark behind it."""
LOOK_SECONDS = 0.5
"""How often `--follow` looks for progress; the end itself is pushed."""


@common
def query(
    given: Given,
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="IDs of tasks; - reads one a line from stdin.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until all have ended.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Show worker, attempts, times, traceback, all of a result.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a task.")] = False,
) -> None:
    """Show status and result of tasks. A failed task is exit 0: the question was answered.

    For example:

        yadtq query 0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11
        yadtq query - < ids.txt
    """
    show = _Shower(full=full, as_json=as_json, in_rows=ids == [STDIN] and not full)
    read = _read_ids(show) if ids == [STDIN] else map(check_id, ids)
    wanted = list(dict.fromkeys(read))
    with open_client(given.load().settings) as client:
        show.client = client
        if follow:
            _follow(client, wanted, show)
        else:
            show.all(wanted, client.query(wanted))
    if show.code:
        raise typer.Exit(show.code)


def _read_ids(show: "_Shower") -> Iterator[str]:
    """Yield the IDs on stdin, a line each; blank lines and what follows a # are passed over, bad lines are told."""
    for row in rows_of(STDIN, what="IDs from", longest=MAX_LINE_BYTES):
        text = row.data.partition(b"#")[0].strip().decode(errors="backslashreplace")
        try:
            if row.error is not None:
                raise InvalidInput(row.error)
            if text:
                yield check_id(text)
        except InvalidInput as error:
            show.refuse(row.number, error)


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
    """Prints records, and remembers in the exit code whether one was missing, or a line was no ID.

    in_rows: a line each, for many.
    """

    client: Client
    """Whom to ask how results are read, and why there is no record; open once the IDs were checked."""

    def __init__(self, *, full: bool, as_json: bool, in_rows: bool) -> None:
        self._full = full
        self._as_json = as_json
        self._in_rows = in_rows
        self._several = False
        self.code = 0

    def refuse(self, line: int, error: InvalidInput) -> None:
        """Say of a line that it is no ID."""
        self.code = InvalidId.exit_code
        complain(f"Error: line {line}: {error}")

    def all(self, ids: list[str], records: list[Record | None]) -> None:
        """Print each record, a blank line between two; say of a missing one that it is, and why that may be."""
        missing = [task_id for task_id, record in zip(ids, records, strict=True) if record is None]
        reasons = dict(zip(missing, self.client.not_found(missing), strict=True))
        payloads = self.client.payloads
        for task_id, record in zip(ids, records, strict=True):
            if record is None:
                self.code = self.code or TaskNotFound.exit_code
                complain(f"Error: {reasons[task_id]}")
            elif self._as_json:
                say_json(record_as_json(record, payloads))
            elif self._in_rows:
                say_row(record, payloads)
            else:
                if self._several:
                    say()
                say_record(record, payloads, full=self._full)
                self._several = True

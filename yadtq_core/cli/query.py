"""`yadtq query`: print task records once, or until the tasks have ended."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from yadtq_core import Client
from yadtq_core.cli.opening import open_client
from yadtq_core.cli.options import CommonOptions, common
from yadtq_core.cli.output import complain, say, say_json
from yadtq_core.cli.record import say_record, say_row
from yadtq_core.cli.sources import STDIN, lines_of
from yadtq_core.client.results import record_as_json
from yadtq_core.errors import InvalidId, InvalidInput, TaskNotFound
from yadtq_core.model import ENDED, Record, check_id

MAX_LINE_BYTES = 4096
"""The longest line on stdin: an ID and a comment."""
LOOK_SECONDS = 0.5
"""The interval at which `--follow` reads progress. The end of a task is pushed."""


@common
def query(
    given: CommonOptions,
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="IDs of tasks; - reads one per line from stdin.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until all have ended.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Also show worker, attempts, times, traceback and the whole result.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per task.")] = False,
) -> None:
    """Show status and result of tasks. The exit code is 0 even if a task failed.

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
    """Yield the IDs on stdin, one per line. Skip blank lines and comments after #; print an error for a bad line."""
    for row in lines_of(STDIN, what="IDs from", longest=MAX_LINE_BYTES):
        text = row.data.partition(b"#")[0].strip().decode(errors="backslashreplace")
        try:
            if row.error is not None:
                raise InvalidInput(row.error)
            if text:
                yield check_id(text)
        except InvalidInput as error:
            show.refuse(row.number, error)


def _follow(client: Client, ids: list[str], show: "_Shower") -> None:
    """Print each record at first and after each change, until all tasks have ended."""
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
    def shown(record: Record | None) -> Any:
        return record and (record.status, record.attempt, record.progress, record.note, record.worker_id)

    return bool(shown(old) != shown(new))


class _Shower:
    """Prints records and keeps the exit code: of a bad line, or of a missing record.

    in_rows: print one line per record.
    """

    client: Client
    """Decodes results and explains a missing record. Set after the IDs were checked."""

    def __init__(self, *, full: bool, as_json: bool, in_rows: bool) -> None:
        self._full = full
        self._as_json = as_json
        self._in_rows = in_rows
        self._several = False
        self.code = 0

    def refuse(self, line: int, error: InvalidInput) -> None:
        """Print that a line is no ID."""
        self.code = InvalidId.exit_code
        complain(f"Error: line {line}: {error}")

    def all(self, ids: list[str], records: list[Record | None]) -> None:
        """Print each record, with a blank line between two, and an error with the likely reason for a missing one."""
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

"""`yadtq submit --batch`: submits one task per line of JSON. A bad line does not stop the others."""

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from yadtq_core import Call, Handle
from yadtq_core.cli.arguments import kind, parse
from yadtq_core.cli.known import KnownTasks
from yadtq_core.cli.output import complain, say, say_json
from yadtq_core.cli.sources import Line, lines_of
from yadtq_core.client.call import Using, options
from yadtq_core.client.client import Submitting
from yadtq_core.errors import InvalidInput, OutcomeUnknown, TaskLoadError, YadtqError
from yadtq_core.model import MAX_ARGUMENT_BYTES, MAX_NESTING, new_id

MAX_LINE_BYTES = MAX_ARGUMENT_BYTES + 16 * 1024
"""The largest arguments, and 16 KiB for headers and names."""
CHUNK_LINES = 5000
CHUNK_BYTES = 8 * 1024 * 1024
"""The bytes submitted together: enough to keep the broker busy, and little enough to hold in memory."""
_OPTIONS = tuple(Using.__annotations__)
_FIELDS = ("task", "args", "kwargs", *_OPTIONS)


class BatchSubmitter:
    """Submits the tasks of a file and prints one answer per line, in order.

    client: has the options of lines that give none. guard: a context entered around each submit with its IDs, which
    names them if it is interrupted. as_json: print answers and errors as NDJSON on stdout.
    """

    def __init__(
        self,
        client: Submitting,
        known: KnownTasks,
        guard: Callable[[tuple[str, ...]], AbstractContextManager[None]],
        *,
        as_json: bool,
    ) -> None:
        self._client = client
        self._known = known
        self._guard = guard
        self._as_json = as_json
        self._code = 0

    def run(self, source: str) -> int:
        """Submit all lines of a file (`-`: stdin). Return 0 if all were accepted, else the gravest exit code."""
        with _progress(source) as advance:
            for chunk in _chunks(lines_of(source, what="--batch", longest=MAX_LINE_BYTES)):
                self._submit(chunk)
                advance(sum(len(row.data) for row in chunk))
        return self._code

    def _submit(self, rows: list[Line]) -> None:
        calls: dict[int, Call[Any]] = {}
        errors: dict[int, YadtqError] = {}
        for row in rows:
            try:
                calls[row.number] = self._call(row)
            except (InvalidInput, TaskLoadError) as error:
                errors[row.number] = error
        ids = tuple(call.options.id for call in calls.values() if call.options.id)
        with self._guard(ids):
            handles = self._client.submit_many(calls.values(), on_error="return") if calls else []
        answers = dict(zip(calls, handles, strict=True))
        for row in rows:
            answer = errors.get(row.number) or answers[row.number]
            if isinstance(answer, YadtqError):
                self._refused(row.number, answer)
            else:
                self._accepted(row.number, answer)

    def _call(self, row: Line) -> Call[Any]:
        """Return the call that a line describes. Raises InvalidInput if it describes none."""
        if row.error is not None:
            raise InvalidInput(row.error)
        try:
            text = row.data.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"not UTF-8 at byte {error.start}") from None
        fields = _fields_of(parse(text, what="the line is", most=MAX_LINE_BYTES, depth=MAX_NESTING + 1))
        self._known.check(fields["task"])
        chosen = {name: fields[name] for name in _OPTIONS if fields.get(name) is not None}
        if "id" not in chosen and "idempotency_key" not in chosen:
            chosen["id"] = new_id()  # chosen before the submit, so that an interruption can name it
        return Call(fields["task"], tuple(fields["args"]), fields["kwargs"], options(**chosen))

    def _accepted(self, line: int, handle: Handle[Any]) -> None:
        if self._as_json:
            say_json({"task_id": handle.id, "line": line})
        else:
            say(f"Task ID: {handle.id}")

    def _refused(self, line: int, error: YadtqError) -> None:
        self._code = _graver(self._code, error.exit_code)
        if self._as_json:
            say_json({"error": str(error), "line": line})
        else:
            complain(f"Error: line {line}: {error}")


def _graver(one: int, other: int) -> int:
    """Return the graver exit code: outcome unknown, then no service, then refused services, then bad lines."""
    order = (OutcomeUnknown.exit_code, 3, 7)
    return next((code for code in order if code in (one, other)), one or other)


def _fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of a line after a check of their names and types."""
    if not isinstance(value, dict):
        raise InvalidInput(f'expected an object such as {{"task": "add", "args": [1, 2]}}, got {kind(value)}')
    for name in value:
        if name not in _FIELDS:
            close = difflib.get_close_matches(name, _FIELDS, 1)
            hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(_FIELDS)
            raise InvalidInput(f"unknown field {name[:80]!r}; {hint}")
    if not isinstance(value.get("task"), str):
        raise InvalidInput('no "task": the name of the task to run')
    fields = {"args": [], "kwargs": {}} | {name: item for name, item in value.items() if item is not None}
    if not isinstance(fields["args"], list):
        raise InvalidInput(f'"args" takes an array, got {kind(fields["args"])}')
    if not isinstance(fields["kwargs"], dict):
        raise InvalidInput(f'"kwargs" takes an object, got {kind(fields["kwargs"])}')
    return fields


@contextmanager
def _progress(source: str) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many bytes are submitted. Yields the function that adds to them."""
    if not sys.stderr.isatty():
        yield lambda size: None
        return
    from rich.console import Console  # noqa: PLC0415  (50 ms, needed on a terminal only)
    from rich.progress import Progress  # noqa: PLC0415

    total = Path(source).stat().st_size if Path(source).is_file() else None
    onto = sys.stdout.isatty()
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=onto) as shown:
        bar = shown.add_task("submitting", total=total)
        yield lambda size: shown.advance(bar, size)


def _chunks(rows: Iterable[Line]) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row.data)
        if len(chunk) >= CHUNK_LINES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk

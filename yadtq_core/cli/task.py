"""`yadtq task`: list the tasks registered here."""

import sys
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer

from yadtq_core.cli.options import CommonOptions, common
from yadtq_core.cli.output import say, say_json, say_lines
from yadtq_core.errors import TaskLoadError
from yadtq_core.plugin.registry import Registry, TaskRow

tasks = typer.Typer(name="task", help="List registered tasks.")


@tasks.command("list")
@common
def list_tasks(
    given: CommonOptions,
    *,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this task only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per task.")] = False,
) -> None:
    """Show tasks with signature, options, documentation and origin, including those that cannot be loaded.

    Tasks of your own modules are listed if `imports` names the modules (in yadtq.toml, or YADTQ_IMPORTS=shop).

    For example:

        yadtq task list
        yadtq task list add
    """
    registry = Registry(given.load().settings.imports)
    with redirect_stdout(sys.stderr):  # the output of imports is not part of the list
        rows = [row for row in registry.describe() if name in (None, row.name)]
        if name is not None and not rows:
            registry.get(name)
    for row in rows:
        if as_json:
            say_json(_as_json(row))
        else:
            _say(row, whole=name is not None)
    if not rows and not as_json:
        say("no tasks: install a plugin, or name your modules in `imports`")
    if name is not None and rows[0].error is not None:
        raise typer.Exit(TaskLoadError.exit_code)


def _as_json(row: TaskRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "signature": row.signature or None,
        "version": row.version,
        "retries": row.retries,
        "async": row.is_async,
        "doc": row.doc or None,
        "origin": row.origin,
        "place": row.place,
        "error": row.error,
    }


def _say(row: TaskRow, *, whole: bool) -> None:
    """Print a task: signature and options, documentation (`whole`: all of it), origin."""
    options = [f"version {row.version}"] if row.version else []
    options += (["async"] if row.is_async else []) + ([f"retries {row.retries}"] if row.retries else [])
    say(f"{row.name}{row.signature}" + (f"  [{', '.join(options)}]" if options else ""))
    if row.error is not None:
        say(f"    Error: {row.error}")
        return
    doc = row.doc if whole else row.doc.partition("\n\n")[0]
    say_lines("\n".join(f"    {line.strip()}" if line.strip() else "" for line in doc.splitlines()))
    say(f"    from {row.origin} ({row.place})")

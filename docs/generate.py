"""Writes the generated parts of the pages in this folder: `make docs`, or `python -m docs.generate`.

A part is between `<!-- generated: NAME -->` and `<!-- end -->`. `settings` is the table of settings, `help COMMAND` the
help of a command, `common` the options of all commands, `numbers` the limits and times of the guarantees.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec.inspect
from typer.main import get_command

from yadtq_core.child.runner import MAX_TEXT
from yadtq_core.cli.app import build
from yadtq_core.cli.commands import as_command
from yadtq_core.client.call import MAX_DELAY, MAX_HEADER_BYTES
from yadtq_core.model import MAX_ARGUMENT_BYTES, MAX_NESTING, MAX_RESULT_BYTES
from yadtq_core.settings import ALIASES, ENVIRONMENT, Settings
from yadtq_core.tasks.task import MAX_RETRIES
from yadtq_core.worker.rules.budget import BUDGET
from yadtq_core.worker.rules.intake import MAX_WINDOW
from yadtq_core.worker.rules.keeper import SWEEP_JITTER, SWEEP_SECONDS
from yadtq_core.worker.rules.passed import ENDS_SECONDS
from yadtq_core.worker.rules.saturation import LEAVE_AFTER, OFFER_AFTER
from yadtq_core.worker.watchdog import WATCHDOG_SECONDS
from yadtq_local.demo import demo
from yadtq_local.dev import dev

FOLDER = Path(__file__).parent
COMMON = "Options of every command"
OF_PLUGINS = {"demo": as_command("demo", demo), "dev": as_command("dev", dev)}
"""Commands of plugins that the page of the commands describes too."""
COMPUTED = {"worker_id": "host name and process ID", "processes": "usable cores"}
"""Defaults that depend on the machine."""
ALLOWED = {
    "broker": "an address",
    "backend": "an address",
    "log_level": "`debug`, `info`, `warning`, `error`",
    "log_format": "`console`, `json`",
}
"""Values that the types do not describe."""
END = r"\Z"
_PART = re.compile(r"(?<=<!-- generated: )(.+?)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def main() -> int:
    """Write every page whose generated parts have changed; return 0."""
    for page in sorted(FOLDER.glob("*.md")):
        text = page.read_text("utf-8")
        if (anew := generated(text)) != text:
            page.write_text(anew, "utf-8")
            print(f"written: {page.name}")
    return 0


def generated(text: str) -> str:
    """Return a page with its generated parts up to date."""
    return _PART.sub(lambda part: f"{part[1]}{part[2]}\n{content(part[1])}\n\n", text)


def content(name: str) -> str:
    """Return the content of a generated part."""
    kind, _, rest = name.partition(" ")
    if kind == "settings":
        return "\n".join(settings())
    if kind == "numbers":
        return "\n".join(numbers())
    if kind == "common":
        return "\n".join(options(list(get_command(build()).params), COMMON))
    if kind == "help":
        return "\n".join(help_of(command(rest)))
    raise ValueError(f"no generated part is named {name!r}")


# The settings


def settings() -> Iterator[str]:
    """Yield the lines of the table of settings."""
    yield "| setting | environment | value | default | meaning |"
    yield "|---|---|---|---|---|"
    kind = msgspec.inspect.type_info(Settings)
    assert isinstance(kind, msgspec.inspect.StructType)
    for field in kind.fields:
        if field.name not in ENVIRONMENT:  # the sections of plugins, which have settings of their own
            continue
        variables = [ENVIRONMENT[field.name], *([ALIASES[field.name]] if field.name in ALIASES else [])]
        cells = [
            f"`{field.name}`",
            ", ".join(f"`{variable}`" for variable in variables),
            ALLOWED.get(field.name) or allowed(field.type),
            COMPUTED.get(field.name) or default(field.default),
            meanings()[field.name],
        ]
        yield row(cells)


@cache
def meanings() -> dict[str, str]:
    """Return the docstring of each field."""
    (made,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(made, ast.ClassDef)
    found = {}
    for field, below in pairwise(made.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))) if (
                name in ENVIRONMENT
            ):
                found[name] = " ".join(text.split())
    return found


def allowed(kind: Any) -> str:
    """Return the values of a setting's type, in words."""
    match kind:
        case msgspec.inspect.FloatType(gt=0, le=float() | int() as most):
            return f"duration, above 0 to {span(most)}"
        case msgspec.inspect.FloatType(ge=float() | int() as least, le=float() | int() as most):
            return f"duration, {span(least)} to {span(most)}"
        case msgspec.inspect.IntType():
            return f"{kind.ge} to {kind.le:,}"
        case msgspec.inspect.VarTupleType():
            return "list"
        case msgspec.inspect.StrType(pattern=str(pattern)):
            return f"text, `{pattern.removesuffix(END)}$`"
    return "text"


def default(value: Any) -> str:
    """Return a default as in a settings file."""
    if isinstance(value, float):
        return span(value)
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{one}"' for one in value) + "]`"
    return f"`{value}`" if value != "" else "none"


def span(seconds: float) -> str:
    """Return a duration with the largest unit that divides it."""
    for size, unit in _UNITS:
        if seconds >= 2 * size and seconds % size == 0:
            return f"`{int(seconds / size)}{unit}`"
    return f"`{seconds:g}s`" if seconds >= 1 or not seconds else f"`{seconds * 1000:g}ms`"


def numbers() -> Iterator[str]:
    """Yield the table of times and limits, with the setting that changes each."""
    now = Settings(worker_id="any", processes=1)
    third = span(now.claim_stale_seconds / 3)
    rows = [
        ("the lease", span(now.claim_stale_seconds), "claim_stale_seconds"),
        ("a heartbeat, and an extension of the held leases", f"at least every {third}", "claim_stale_seconds"),
        ("an extension of runs older than `1s`; a heartbeat if counts have changed", "every `1s`", ""),
        ("a worker is shown as `offline` after", span(now.claim_stale_seconds), "claim_stale_seconds"),
        (
            "each worker sweeps",
            f"every {span(SWEEP_SECONDS)} ± {SWEEP_JITTER:.0%}".replace("%", " %"),
            "",
        ),
        ("a task whose message was not confirmed runs from its record after", span(now.publish_grace), "publish_grace"),
        ("a worker looks for lost messages in each of its partitions", f"every {span(ENDS_SECONDS)}", ""),
        (
            "a full worker offers waiting tasks to others after",
            f"{span(OFFER_AFTER)}, and leaves the group after {span(LEAVE_AFTER)}",
            "",
        ),
        ("lost runs of a task, beyond which it fails", str(now.lost_limit), "lost_limit"),
        ("a submit waits for the broker's acknowledgement", span(now.submit_timeout), "submit_timeout"),
        ("a draining worker lets runs go on for", span(now.shutdown_grace), "shutdown_grace"),
        ("the record of an ended task is kept", span(now.result_ttl), "result_ttl"),
        ("a task that no worker knows waits up to", span(now.unknown_task_ttl), "unknown_task_ttl"),
        ("Kafka keeps messages (an older waiting task runs from its record)", span(now.retention), "retention"),
        ("the partitions of a queue", str(now.partitions), "partitions"),
        ("leases that one worker holds at once", f"its slots, or up to {MAX_WINDOW} short ones", ""),
        ("a worker with a stuck thread ends itself (exit code 70) after", span(WATCHDOG_SECONDS), ""),
        (
            "jobs ahead of the slots, outcomes, and events of plugins that a worker holds, each",
            f"{BUDGET >> 20} MiB",
            "",
        ),
        ("arguments of one call", f"{MAX_ARGUMENT_BYTES // 1024} KiB as JSON, nested {MAX_NESTING} deep", ""),
        ("headers of one call", f"{MAX_HEADER_BYTES // 1024} KiB", ""),
        ("a result", f"{MAX_RESULT_BYTES // 1024**2} MiB as JSON", ""),
        ("an error's message, and its traceback", f"{MAX_TEXT:,} characters", ""),
        ("a delay", f"up to {span(MAX_DELAY)}", ""),
        ("retries", f"up to {MAX_RETRIES:,}", ""),
    ]
    yield "| limit or time | value | setting |"
    yield "|---|---|---|"
    for what, much, setting in rows:
        yield row([what, much, f"`{setting}`" if setting else ""])


# The commands


def command(path: str) -> Any:
    """Return the command of a path such as `submit` or `task list`."""
    found: Any = get_command(build())
    for name in path.split():
        found = (found.commands | OF_PLUGINS)[name]
    return found


def commands() -> list[str]:
    """Return the paths of all commands."""
    top: Any = get_command(build())
    paths = list(OF_PLUGINS)
    for name, found in top.commands.items():
        below = getattr(found, "commands", None)
        paths += [f"{name} {one}" for one in below] if below else [name]
    return paths


def help_of(found: Any) -> Iterator[str]:
    """Yield the help of a command, and its arguments and options as a table."""
    yield inspect.cleandoc(found.help).partition("For example:")[0].strip()
    rows = list(options(list(found.params), None))
    if rows:
        yield ""
        yield from rows


def options(parameters: list[Any], panel: str | None) -> Iterator[str]:
    """Yield the table of the parameters of one panel."""
    rows = [
        row([f"`{spelling(one)}`", one.help or ""])
        for one in parameters
        if getattr(one, "rich_help_panel", None) == panel and one.name not in ("help", "version")
    ]
    if rows:
        yield from ("| argument or option | meaning |", "|---|---|", *rows)


def spelling(parameter: Any) -> str:
    """Return the spelling of an argument or option."""
    if type(parameter).__name__ == "TyperArgument":
        return str(parameter.metavar or parameter.name)
    names = ", ".join(sorted(parameter.opts, key=len, reverse=True))
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return names + value


def row(cells: list[str]) -> str:
    """Return a row of a table; a bar within a cell would end it."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())

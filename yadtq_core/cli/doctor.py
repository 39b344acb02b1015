"""`yadtq doctor`: checks an installation and prints what to do about each problem."""

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from yadtq_core import __version__
from yadtq_core.checks import Report, run_checks
from yadtq_core.cli.options import CommonOptions, common
from yadtq_core.cli.output import escape, say, say_json
from yadtq_core.errors import InvalidInput, Unavailable
from yadtq_core.model import Finding, Level, some

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


@common
def doctor(
    given: CommonOptions,
    *,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHECK", help="Report problems of this check (such as persistence) as warnings; repeatable."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check services, topics, workers and plugins. Each finding says what to do.

    Exit code 0: no problems, perhaps warnings. 1: problems. 3: a service cannot be reached.

    For example:

        yadtq doctor
        yadtq doctor --accept persistence
    """
    settings = given.load().settings
    with redirect_stdout(sys.stderr):  # the output of imported tasks is no finding
        report = accepted(run_checks(settings, __version__), accept or [])
    if as_json:
        _say_json(report)
    elif sys.stdout.isatty():
        _show(report)
    else:
        _say(report)
    if report.unreachable:
        raise typer.Exit(Unavailable.exit_code)
    if report.count(Level.PROBLEM):
        raise typer.Exit(1)


def accepted(report: Report, checks: list[str]) -> Report:
    """Return the report with the problems of these checks as warnings. Raises InvalidInput for an unknown check."""
    known = sorted({finding.check for finding in report.findings})
    for check in checks:
        if check not in known:
            raise InvalidInput(f"--accept {check[:40]!r}: no such check; known: {', '.join(known)}")
    findings = [
        finding._replace(level=Level.WARNING) if finding.check in checks and finding.level is Level.PROBLEM else finding
        for finding in report.findings
    ]
    return report._replace(findings=findings)


def _summary(report: Report) -> str:
    problems, warnings = report.count(Level.PROBLEM), report.count(Level.WARNING)
    return f"{some(len(report.findings), 'finding')}: {some(problems, 'problem')}, {some(warnings, 'warning')}"


def _say(report: Report) -> None:
    """Print one line per finding: level, check, fact, remedy."""
    for finding in report.findings:
        say(f"{finding.level:<8} {finding.check:<12} {_text(finding)}")
    say(_summary(report))


def _text(finding: Finding) -> str:
    return finding.found + (f" → {finding.remedy}" if finding.remedy else "")


def _say_json(report: Report) -> None:
    say_json(
        {
            "findings": [{**finding._asdict(), "level": finding.level.value} for finding in report.findings],
            "problems": report.count(Level.PROBLEM),
            "warnings": report.count(Level.WARNING),
        }
    )


def _show(report: Report) -> None:
    """Show the findings as a table on a terminal."""
    from rich.console import Console  # noqa: PLC0415  (50 ms, needed on a terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in report.findings:
        style = _COLOURS[finding.level]
        text = Text(escape(finding.found))
        if finding.remedy:
            text.append(f"\n→ {escape(finding.remedy)}", style="bold")
        table.add_row(Text(finding.level.value, style=style), finding.check, text)
    console = Console()
    console.print(table)
    console.print(_summary(report))

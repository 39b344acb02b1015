"""The program `yadtq`: puts the commands together and turns errors into messages and exit codes.

An expected error is one or two lines on stderr and the exit code of its class. `--debug` adds the traceback.
"""

import errno
import os
import sys
import traceback
from typing import Annotated

import typer

from yadtq_core import __version__
from yadtq_core.cli.cancel import cancel
from yadtq_core.cli.commands import Commands
from yadtq_core.cli.config import config
from yadtq_core.cli.doctor import doctor
from yadtq_core.cli.monitor import monitor
from yadtq_core.cli.options import CommonOptions, common
from yadtq_core.cli.output import complain, say
from yadtq_core.cli.plugin import plugins
from yadtq_core.cli.provision import provision
from yadtq_core.cli.query import query
from yadtq_core.cli.submit import submit
from yadtq_core.cli.task import tasks
from yadtq_core.cli.worker import worker
from yadtq_core.errors import LocalStackError, Unavailable, YadtqError

INTERRUPTED = 130
"""The exit code of a program that ctrl-C ended: 128 + SIGINT."""
READER_GONE = 141
"""The exit code of a program that wrote to a pipe without a reader: 128 + SIGPIPE."""


def _version(wanted: bool) -> None:
    if wanted:
        say(f"yadtq {__version__}")
        raise typer.Exit


@common
def yadtq(
    given: CommonOptions,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A distributed task queue: Kafka carries the tasks, Redis keeps the records.

    For example:

        yadtq worker
        yadtq submit add '[1, 2, 3]' --wait
    """


def build() -> typer.Typer:
    """Return the app with all its commands."""
    app = typer.Typer(
        cls=Commands, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
    )
    app.callback()(yadtq)
    for command in (submit, query, cancel, worker, monitor, provision, doctor, config):
        app.command()(command)
    app.add_typer(tasks)
    app.add_typer(plugins)
    return app


def main() -> None:
    """Run `yadtq` as a program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    _flush()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return the exit code. Raises nothing."""
    given = CommonOptions()
    try:
        answer = build()(args=arguments or ["--help"], prog_name="yadtq", obj=given, standalone_mode=False)
    except Exception as error:
        if given.debug or "--debug" in arguments:
            _trace(error)
        return _complain_of(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit:  # typer raises it when the reader of stdout is gone
        return READER_GONE
    return answer if isinstance(answer, int) else 0


def _complain_of(error: Exception) -> int:
    """Print the error on stderr and return the exit code."""
    if isinstance(error, LocalStackError):
        for line in f"Error: {error}".splitlines():  # it quotes the end of a server's log
            complain(line)
        return error.exit_code
    if isinstance(error, YadtqError):
        complain(f"Error: {error}")
        return error.exit_code
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        complain(f"Error: {error.format_message()}")
        complain(f"Try: {context.command_path if context else 'yadtq'} --help")
        return 2
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        complain("Error: too many open files: raise the limit (`ulimit -n`)")
        return Unavailable.exit_code
    complain(f"Error: unexpected {type(error).__name__}: {error}")
    complain("This is a bug in yadtq; --debug shows the traceback.")
    return 1


def _trace(error: Exception) -> None:
    for line in traceback.format_exception(error):
        for part in line.splitlines():
            complain(part)


def _flush() -> None:
    """Flush stdout. A reader that is gone (`yadtq monitor | head`) is no error."""
    if sys.stdout is None:  # the program was started with stdout closed
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

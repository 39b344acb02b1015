"""`yadtq demo`: the whole story on this machine: three workers, one of them killed, and nothing lost."""

import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from yadtq_core import InvalidInput
from yadtq_core.cli import Given, common, complain
from yadtq_local.stage import open_stage
from yadtq_local.story import Demo


@common
def demo(
    given: Given,
    *,
    kafka: Annotated[bool, typer.Option("--kafka", help="A real Kafka carries the tasks.")] = False,
) -> None:
    """See it work: brings up services in a temporary folder, three workers, the five built-in tasks and 300 more;
    kills a worker in the middle of a task and shows how another takes it over. Cleans up; exit code 1 if anything
    went wrong.

    For example:

        yadtq demo
        yadtq demo --kafka
    """
    if given.values.get("broker") or given.values.get("backend"):
        raise InvalidInput("`yadtq demo` starts services of its own: leave out --broker and --backend")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # clean up as after ctrl-C
    with tempfile.TemporaryDirectory(prefix="yadtq-demo-") as folder, open_stage() as stage:
        wrong = Demo(Path(folder), stage, kafka=kafka).run()
    for text in wrong:
        complain(f"Error: {text}")
    raise typer.Exit(1 if wrong else 0)

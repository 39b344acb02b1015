"""`yadtq demo`: three workers on this machine, one of them killed, and no task lost."""

import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from yadtq_core.cli import CommonOptions, common, complain
from yadtq_local.dev import check_no_address
from yadtq_local.stage import open_stage
from yadtq_local.story import Demo


@common
def demo(
    given: CommonOptions,
    *,
    kafka: Annotated[bool, typer.Option("--kafka", help="Use a real Kafka as the broker.")] = False,
) -> None:
    """Show yadtq at work: start services in a temporary folder and three workers, run the five built-in tasks and 300
    more, kill a worker in the middle of a task, and show how another one takes the task over. Removes everything at the
    end. Exit code 1: something went wrong.

    For example:

        yadtq demo
        yadtq demo --kafka
    """
    check_no_address("demo", given)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # end like ctrl-C, with the cleanup
    with tempfile.TemporaryDirectory(prefix="yadtq-demo-") as folder, open_stage() as stage:
        wrong = Demo(Path(folder), stage, kafka=kafka).run()
    for text in wrong:
        complain(f"Error: {text}")
    raise typer.Exit(1 if wrong else 0)

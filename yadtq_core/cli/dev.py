"""`yadtq dev`: the local stack and its workers in the foreground."""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from yadtq_core.cli.options import Given, common, whole_number
from yadtq_core.cli.output import complain
from yadtq_core.discovery import FOLDER
from yadtq_core.errors import InvalidInput

LOOK_SECONDS = 0.3


@common
def dev(
    given: Given,
    *,
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE…", help="Modules whose @task functions are run.")
    ] = None,
    kafka: Annotated[bool, typer.Option("--kafka", help="A real Kafka carries the tasks.")] = False,
    workers: Annotated[str, typer.Option(metavar="N", help="Workers; 0 to 16.")] = "1",
) -> None:
    """Run the local stack and workers in the foreground until ctrl-C; nothing else need be installed or running.

    Data are kept in .yadtq/ of this folder. Commands in other terminals in or below it find the stack by
    themselves. Workers are started anew when a module's files change.

    For example:

        yadtq dev shop
        yadtq dev shop --kafka --workers 2
    """
    number = whole_number("--workers", workers, 0, 16)
    if given.values.get("broker") or given.values.get("backend"):
        raise InvalidInput("`yadtq dev` starts services of its own: leave out --broker and --backend")
    settings = given.load(quiet=False, find_stack=False).settings
    sys.path.insert(0, str(Path.cwd()))  # modules are looked for where the workers find them
    from yadtq_core.cli.crew import Crew  # noqa: PLC0415  (other commands need none of it)
    from yadtq_core.local.stack import Stack  # noqa: PLC0415

    stop = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, lambda *_: stop.set())
    with Stack(Path(FOLDER), kafka=kafka, report=complain) as stack:
        complain(f"broker   {stack.broker}")
        complain(f"backend  {stack.backend}")
        complain("In another terminal in this folder: yadtq submit add '[1, 2, 3]' --wait; yadtq monitor. Ctrl-C ends.")
        crew = Crew(stack, modules or [], number, settings.namespace)
        try:
            while not stop.wait(LOOK_SECONDS):
                stack.check()
                crew.look()
        finally:
            complain("ending")
            crew.end()

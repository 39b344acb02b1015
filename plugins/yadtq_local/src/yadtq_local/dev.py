"""`yadtq dev`: the local stack and its workers in the foreground."""

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from yadtq_core import InvalidInput
from yadtq_core.cli import Given, common, complain, whole_number
from yadtq_core.local_stack import FOLDER
from yadtq_core.settings import ADDRESSES, Loaded
from yadtq_local.crew import Crew
from yadtq_local.stack import Stack

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
    processes: Annotated[
        str | None, typer.Option("--processes", "-c", metavar="P", help="Children of each; default: usable cores.")
    ] = None,
) -> None:
    """Run the local stack and workers in the foreground until ctrl-C; nothing else need be installed or running.

    Data are kept in .yadtq/ of this folder. Commands in other terminals in or below it find the stack by
    themselves. Workers are started anew when a module's files change. At the end running tasks may go on for
    10 s; a second ctrl-C hands them back at once.

    For example:

        yadtq dev shop
        yadtq dev shop --kafka --workers 2
    """
    number = whole_number("--workers", workers, 0, 16)
    children = [] if processes is None else ["-c", str(whole_number("--processes", processes, 1, 256))]
    if given.values.get("broker") or given.values.get("backend"):
        raise InvalidInput("`yadtq dev` starts services of its own: leave out --broker and --backend")
    loaded = given.load(quiet=False, find_stack=False)
    sys.path.insert(0, str(Path.cwd()))  # modules are looked for where the workers find them
    _run(number, [*(modules or []), *children], [*(modules or []), *loaded.settings.imports], loaded, kafka=kafka)


def _run(number: int, arguments: list[str], watched: list[str], loaded: Loaded, *, kafka: bool) -> None:
    """Run stack and workers until a signal comes or a server ends."""
    asked = Asked()
    with Stack(Path(FOLDER), kafka=kafka, report=complain) as stack:
        _greet(stack.broker, stack.backend, loaded)
        environment = {
            "YADTQ_BROKER": stack.broker,
            "YADTQ_BACKEND": stack.backend,
            "YADTQ_NAMESPACE": loaded.settings.namespace,
            "YADTQ_BROKER_PASSWORD": "",
            "YADTQ_BACKEND_PASSWORD": "",
        }
        crew = Crew(number, arguments, environment, watched)
        try:
            while not asked.once.wait(LOOK_SECONDS):
                stack.check()
                crew.look()
        finally:
            complain("ending")
            crew.end(asked.twice)


class Asked:
    """Whether a signal has asked us to end, `once` and `twice`."""

    def __init__(self) -> None:
        self.once = threading.Event()
        self.twice = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._came)

    def _came(self, number: int, _: FrameType | None) -> None:
        (self.twice if self.once.is_set() else self.once).set()


def _greet(broker: str, backend: str, loaded: Loaded) -> None:
    """Say where the stack is, and what to type; and where something keeps other terminals from finding it."""
    complain(f"broker   {broker}")
    complain(f"backend  {backend}")
    given_here = loaded.origins["namespace"] == "given"
    where = f" --namespace {loaded.settings.namespace}" if given_here else ""
    complain(
        f"In another terminal in this folder: yadtq submit add '[1, 2, 3]' --wait{where}; "
        f"yadtq monitor{where}. Ctrl-C ends."
    )
    elsewhere = {loaded.origins[name] for name in ADDRESSES} - {"default"}
    if elsewhere:
        complain(f"commands go elsewhere where this gives an address: {', '.join(sorted(elsewhere))}")

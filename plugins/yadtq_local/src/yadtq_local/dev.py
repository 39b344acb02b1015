"""`yadtq dev`: runs the local stack and its workers in the foreground."""

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from yadtq_core import InvalidInput
from yadtq_core.cli import CommonOptions, common, complain, whole_number
from yadtq_core.local_stack import FOLDER
from yadtq_core.settings import ADDRESSES, Loaded
from yadtq_local.crew import Crew
from yadtq_local.stack import Stack

LOOK_SECONDS = 0.3


@common
def dev(
    given: CommonOptions,
    *,
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE…", help="Modules with @task functions to run.")
    ] = None,
    kafka: Annotated[bool, typer.Option("--kafka", help="Use a real Kafka as the broker.")] = False,
    workers: Annotated[str, typer.Option(metavar="N", help="The number of workers, 0 to 16.")] = "1",
    processes: Annotated[
        str | None,
        typer.Option("--processes", "-c", metavar="P", help="Children per worker; default: usable cores."),
    ] = None,
) -> None:
    """Run local services and workers in the foreground until ctrl-C. No other service has to be installed or running.

    Data are kept in .yadtq/ of this folder. Commands in this folder or below it find the services. Workers restart
    when a file of a module changes. After ctrl-C running tasks have 10 s to end; a second ctrl-C requeues them.

    For example:

        yadtq dev shop
        yadtq dev shop --kafka --workers 2
    """
    number = whole_number("--workers", workers, 0, 16)
    children = [] if processes is None else ["-c", str(whole_number("--processes", processes, 1, 256))]
    check_no_address("dev", given)
    loaded = given.load(quiet=False, find_stack=False)
    sys.path.insert(0, str(Path.cwd()))  # find modules where the workers find them
    _run(number, [*(modules or []), *children], [*(modules or []), *loaded.settings.imports], loaded, kafka=kafka)


def _run(number: int, arguments: list[str], watched: list[str], loaded: Loaded, *, kafka: bool) -> None:
    """Run stack and workers until a signal arrives or a server ends."""
    stop = StopSignals()
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
            while not stop.first.wait(LOOK_SECONDS):
                stack.check()
                crew.look()
        finally:
            complain("stopping")
            crew.end(stop.second)


def check_no_address(command: str, given: CommonOptions) -> None:
    """Raise InvalidInput if the options of a command that starts services name others."""
    if given.values.get("broker") or given.values.get("backend"):
        raise InvalidInput(f"`yadtq {command}` starts its own services: leave out --broker and --backend")


class StopSignals:
    """The signals that end `yadtq dev`: events for the `first` and the `second`."""

    def __init__(self) -> None:
        self.first = threading.Event()
        self.second = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._received)

    def _received(self, number: int, _: FrameType | None) -> None:
        (self.second if self.first.is_set() else self.first).set()


def _greet(broker: str, backend: str, loaded: Loaded) -> None:
    """Print the addresses and commands to try, and a warning if other terminals will not find the stack."""
    complain(f"broker   {broker}")
    complain(f"backend  {backend}")
    given_here = loaded.origins["namespace"] == "given"
    where = f" --namespace {loaded.settings.namespace}" if given_here else ""
    complain(
        f"In another terminal in this folder: yadtq submit add '[1, 2, 3]' --wait{where}; "
        f"yadtq monitor{where}. Ctrl-C ends."
    )
    origins = {loaded.origins[name] for name in ADDRESSES} - {"default"}
    if origins:
        places = ", ".join(sorted(origins))
        complain(f"warning: other commands will not use this stack, because an address is set in {places}")

"""`yadtq worker`: run tasks until a signal stops it."""

import os
import sys
import threading
import time
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer

from yadtq_core.cli.options import CommonOptions, common, whole_number
from yadtq_core.cli.output import complain

LINGER_SECONDS = 5.0
"""How long a stopped worker waits for threads that plugins started and did not end."""


@common
def worker(
    given: CommonOptions,
    *,
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE…", help="Modules with more @task functions to run.")
    ] = None,
    worker_id: Annotated[
        str | None, typer.Option("--id", help="The worker's name; default: WORKER_ID, else host and process ID.")
    ] = None,
    queues: Annotated[
        list[str] | None, typer.Option("--queue", "-Q", help="A queue to serve; repeatable. Default: default.")
    ] = None,
    processes: Annotated[
        str | None, typer.Option("--processes", "-c", metavar="P", help="Children; default: usable cores.")
    ] = None,
    threads: Annotated[
        str | None, typer.Option("--threads", metavar="T", help="Tasks at a time in each child; default: 1.")
    ] = None,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Start without plugins and tasks that cannot be loaded; log each.")
    ] = False,
) -> None:
    """Run installed tasks and those of the modules named, which may be in the working directory.

    SIGTERM or ctrl-C drains the worker: running tasks may end, the others are requeued. A second signal requeues the
    running tasks too.

    For example:

        yadtq worker
        yadtq worker shop tasks.mail --id worker1 -c 4
    """
    more: dict[str, Any] = {"worker_id": worker_id, "queues": queues or None}
    if processes is not None:
        more["processes"] = whole_number("--processes", processes, 1, 256)
    if threads is not None:
        more["threads"] = whole_number("--threads", threads, 1, 1024)
    settings = given.load(quiet=False, **more).settings
    from yadtq_core.worker import run_worker  # noqa: PLC0415  (other commands need none of it)

    with redirect_stdout(sys.stderr):  # output of plugins; a worker prints nothing on stdout
        code = run_worker(settings, modules or [], lenient=lenient)
    _end_with_threads_of_plugins(code)
    raise typer.Exit(code)


def _end_with_threads_of_plugins(code: int) -> None:
    """End the process if a thread of a plugin does not end: Python would wait for it without limit."""
    until = time.monotonic() + LINGER_SECONDS
    left = [one for one in threading.enumerate() if one is not threading.main_thread() and not one.daemon]
    for thread in left:
        thread.join(max(0.0, until - time.monotonic()))
    hanging = [thread.name for thread in left if thread.is_alive()]
    if hanging:
        complain(f"ending without waiting for threads of plugins: {', '.join(hanging)}")
        sys.stderr.flush()
        os._exit(code)

"""Tasks of the end-to-end tests: each records its begin, so that a second run shows."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from pathlib import Path

from yadtq_core import Cancelled, Retry, current, task


def begin() -> None:
    """Append one line to this task's file."""
    run = current()
    line = {"attempt": run.attempt, "fence": run.fence, "worker": run.worker_id, "at": time.time(), "pid": os.getpid()}
    with (Path(os.environ["SITE_RAN"]) / run.id).open("a") as file:
        file.write(json.dumps(line) + "\n")


@task(name="site.nap")
def nap(seconds: float) -> str:
    """Sleep, in a way that is a system call."""
    begin()
    time.sleep(seconds)
    return current().worker_id


@task(name="site.anap")
async def anap(seconds: float) -> str:
    """Sleep on the event loop."""
    import asyncio  # noqa: PLC0415

    begin()
    await asyncio.sleep(seconds)
    return current().worker_id


@task(name="site.held")
def held(gate: str) -> str:
    """Run until the file `gate` is there."""
    begin()
    until = time.monotonic() + 100
    while not Path(gate).exists():
        if time.monotonic() > until:
            raise TimeoutError("the gate was not opened")
        time.sleep(0.02)
    return current().worker_id


@task(name="site.ameet")
async def ameet(count: int) -> tuple[int, int]:
    """Wait until this number of tasks has begun; return the process and the loop that they share."""
    import asyncio  # noqa: PLC0415

    begin()
    async with asyncio.timeout(60):
        while len(list(Path(os.environ["SITE_RAN"]).iterdir())) < count:
            await asyncio.sleep(0.02)
    return os.getpid(), id(asyncio.get_running_loop())


@task(name="site.square")
def square(number: int) -> int:
    """Return the square."""
    begin()
    return number * number


@task(name="site.hog")
def hog(seconds: float) -> int:
    """Hold the interpreter for about this long in single calls that never let it go."""
    begin()
    until = time.monotonic() + seconds
    digits = 0
    while time.monotonic() < until:
        digits = math.prod(range(1, 60_000)).bit_length()
    return digits


@task(name="site.flaky", retries=3)
def flaky(failures: int, delay: float, later: float | None = None) -> int:
    """Fail a few times, then return the attempt that succeeded. later: the delay from the second failure on."""
    begin()
    if current().attempt <= failures:
        raise Retry("not yet", delay=delay if later is None or current().attempt == 1 else later)
    return current().attempt


@task(name="site.broken")
def broken() -> None:
    """Fail."""
    begin()
    raise ValueError("broken on purpose")


@task(name="site.patient")
def patient(seconds: float) -> None:
    """Wait in steps; stop when cancelled."""
    begin()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if current().cancelled():
            raise Cancelled
        time.sleep(0.05)


@task(name="site.vanish")
def vanish() -> None:
    """End the process without an exception."""
    begin()
    os._exit(0)


@task(name="site.shell")
def shell(command: str) -> int:
    """Run a command in a process of the task's own; raise CalledProcessError if it fails or is killed."""
    begin()
    return subprocess.run(["sh", "-c", f"exec 2>&1; {command}"], check=True).returncode


@task(name="site.echo")
def echo(text: str, length: int) -> str:
    """Return as many characters; the text is there to be large."""
    return "x" * length

"""Tasks for test_executor.py, among them some that no task should be like."""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
import threading
import time
from pathlib import Path

from yadtq_core.tasks.run import Cancelled, current
from yadtq_core.tasks.task import task


@task(name="chores.add")
def add(*numbers: int) -> int:
    return sum(numbers)


@task(name="chores.length")
def length(text: str) -> int:
    return len(text)


@task(name="chores.mark")
def mark(path: str) -> None:
    """Leave a trace that no report can lose: one line a run."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, current().id.encode() + b"\n")
    os.close(fd)


@task(name="chores.sleep")
def sleep(seconds: float) -> int:
    current().progress(0.5, "sleeping")
    time.sleep(seconds)
    return os.getpid()


@task(name="chores.sleep_async")
async def sleep_async(seconds: float) -> str:
    import asyncio  # noqa: PLC0415 - so that the other tests' children need not wait for it

    await asyncio.sleep(seconds)
    return current().id


@task(name="chores.until_cancelled")
def until_cancelled() -> None:
    current().progress(0.0, "waiting")
    while not current().cancelled():
        time.sleep(0.01)
    raise Cancelled


@task(name="chores.hold_the_gil")
def hold_the_gil(seconds: float) -> None:
    """Let no other thread of this process run, as a regex or a product of large integers does."""
    current().progress(0.0, "holding")
    time.sleep(0.2)  # the progress is out by then
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


@task(name="chores.hold_the_gil_while_locked")
def hold_the_gil_while_locked(path: str, go: str) -> None:
    """Once `go` exists, hold the interpreter for as long as another process has `path` locked."""
    current().progress(0.0, "ready")
    while not Path(go).exists():
        time.sleep(0.01)
    with Path(path).open() as file:
        ctypes.PyDLL(None).flock(file.fileno(), fcntl.LOCK_EX)


@task(name="chores.meet")
def meet(folder: str, count: int) -> int:
    """Wait until this number of runs is here at the same time; return the process."""
    (Path(folder) / current().id).touch()
    until = time.monotonic() + 60
    while len(list(Path(folder).iterdir())) < count:
        if time.monotonic() > until:
            raise TimeoutError(f"{count} runs have not met")
        time.sleep(0.01)
    return os.getpid()


@task(name="chores.leave")
def leave(status: int) -> None:
    os._exit(status)


@task(name="chores.die_by")
def die_by(signal: int) -> None:
    os.kill(os.getpid(), signal)
    time.sleep(30)


@task(name="chores.close_everything")
def close_everything() -> None:
    os.closerange(0, 1024)


@task(name="chores.close_everything_elsewhere")
def close_everything_elsewhere() -> None:
    """Close all files from a thread that is no slot, and stay."""
    thread = threading.Thread(target=os.closerange, args=(0, 1024))
    thread.start()
    time.sleep(30)


@task(name="chores.come_back_twice")
def come_back_twice() -> int:
    """Fork and let both return, as a careless `os.fork()` does."""
    return os.fork()


@task(name="chores.daemonise")
def daemonise(path: str) -> str:
    """Leave a process behind that knows nothing of us, holds every inherited file and ignores our group's end."""
    if os.fork() == 0:
        os.setsid()
        Path(path).write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    return "begun"


@task(name="chores.print_much")
def print_much(megabytes: int) -> None:
    for _ in range(megabytes):
        sys.stderr.write("x" * 1_000_000)


@task(name="chores.terminated")
def terminated() -> list[int]:
    """Start a program and fork a process; return how they end when they are terminated."""
    import multiprocessing  # noqa: PLC0415 - so that the other tests' children need not wait for it
    import subprocess  # noqa: PLC0415

    program = subprocess.Popen(["sleep", "60"])
    program.terminate()
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    forked.start()
    forked.terminate()
    forked.join(10)
    return [program.wait(30), forked.exitcode or 0]

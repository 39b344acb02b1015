"""Runs one server and ends it when the process that started this guard is gone, by whatever cause.

A script, not a module: `server.py` starts it as `python -I -S guard.py COMMAND...` with a pipe as its
standard input. Nothing is ever written to the pipe; it closes when its other end dies, kill -9 included, on
Linux and macOS alike. PR_SET_PDEATHSIG would do it on Linux only, and fires too early: when the *thread* that
forked ends.

Its first output is the server's process id; it exits when the server does, with 128 + the number of the
signal where one ended it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType

TERMINATE_SECONDS = 5.0  # after the parent's end: time for a server to close its files before it is killed


def main(command: list[str]) -> int:
    """Run `command` to its end; return the exit code of this guard."""
    server = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, 2, 1),  # the log; standard output is the pipe to the parent
        ],
    )

    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(server, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    sys.stdout.write(f"{server}\n")
    sys.stdout.flush()
    threading.Thread(target=end_with_parent, args=(server,), daemon=True).start()
    _, status = os.waitpid(server, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def end_with_parent(server: int) -> None:
    """Wait for the parent's end, then end `server`, politely first."""
    os.read(0, 1)
    os.kill(server, signal.SIGTERM)
    time.sleep(TERMINATE_SECONDS)
    os.kill(server, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

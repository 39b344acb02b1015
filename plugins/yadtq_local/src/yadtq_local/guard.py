"""Runs one process and ends it when the process that started this guard ends for any reason.

This is a script, not a module: `guarded.py` starts it as `python -I -S guard.py COMMAND...` with a pipe as its input.
Nothing is written to the pipe. It closes when the process at its other end ends, even by SIGKILL, on Linux and macOS.
PR_SET_PDEATHSIG exists on Linux only, and fires too early: when the *thread* that forked ends.

Its first output is the ID of the guarded process. It exits when that process does, with the same exit code, or with 128
+ the number of the signal that ended it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType

TERMINATE_SECONDS = 5.0  # from SIGTERM to SIGKILL after the parent's end: time to close files


def main(command: list[str]) -> int:
    """Run `command` to its end and return the exit code of this guard."""
    guarded = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, 2, 1),  # the log; standard output is the pipe to the parent
        ],
    )

    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(guarded, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    sys.stdout.write(f"{guarded}\n")
    sys.stdout.flush()
    threading.Thread(target=end_with_parent, args=(guarded,), daemon=True).start()
    _, status = os.waitpid(guarded, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def end_with_parent(guarded: int) -> None:
    """Wait for the parent's end, then end the process: SIGTERM first, SIGKILL later."""
    os.read(0, 1)
    os.kill(guarded, signal.SIGTERM)
    time.sleep(TERMINATE_SECONDS)
    os.kill(guarded, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

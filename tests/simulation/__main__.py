"""`python -m tests.simulation`: many seeds; the first that breaks a rule is told with its history."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.simulation.run import run
from tests.simulation.server import Server
from yadtq_core.local import LocalValkey


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one (default 0)")
    parser.add_argument("--history", action="store_true", help="show each history")
    arguments = parser.parse_args()
    with serving() as server:
        return seeds(server, arguments.first, arguments.seeds, show=arguments.history)


@contextmanager
def serving() -> Iterator[Server]:
    """Start a Valkey of our own."""
    with tempfile.TemporaryDirectory(prefix="yadtq-sim-") as folder, LocalValkey(Path(folder), aof=False) as valkey:
        server = Server(valkey.url.removeprefix("unix://"))
        try:
            yield server
        finally:
            server.close()


def seeds(server: Server, first: int, count: int, *, show: bool) -> int:
    """Run seeds; print a summary, or what was broken and how it came to that."""
    begun, digests = time.monotonic(), hashlib.sha256()
    for seed in range(first, first + count):
        result = run(seed, server)
        digests.update(result.digest.encode())
        if show or result.problem:
            print(result.world.history.text())
        if result.problem:
            print(f"seed {seed} ({result.theme}): {result.problem}")
            return 1
    took = time.monotonic() - begun
    print(f"{count} seeds from {first}: clean; {count / took:.1f} seeds/s; digest {digests.hexdigest()[:16]}")
    return 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a history
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
                  {**os.environ, "PYTHONHASHSEED": "0"})  # fmt: skip
    sys.exit(main())

"""`python -m tests.simulation`: many histories, told in one line; or the first that breaks a rule, told in full.

A history is a function of its seed, of the code and of PYTHONHASHSEED, which this sets.
"""

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

from tests.simulation.mutants import ALL, WITHIN, hunt
from tests.simulation.run import run
from tests.simulation.server import Server
from yadtq_core.local import LocalValkey


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="The protocol under test.")
    parser.add_argument("--seeds", type=int, default=100, help="how many histories (default 100)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default 0)")
    parser.add_argument("--history", action="store_true", help="show each history")
    parser.add_argument("--mutants", action="store_true", help="put in deliberate mistakes, one by one: each is caught")
    parser.add_argument("--only", default="", help="mutants whose names have this in them")
    parser.add_argument("--within", type=int, default=WITHIN, help=f"seeds for each mutant (default {WITHIN})")
    arguments = parser.parse_args()
    with serving() as server:
        if arguments.mutants:
            return mutants(server, arguments.only, arguments.within)
        return seeds(server, arguments.first, arguments.seeds, show=arguments.history)


@contextmanager
def serving() -> Iterator[Server]:
    """Start a Valkey of our own: it is emptied before every history."""
    with tempfile.TemporaryDirectory(prefix="yadtq-") as folder, LocalValkey(Path(folder), aof=False) as valkey:
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
            print(f"again: python -m tests.simulation --seeds 1 --from {seed}")
            return 1
    took = time.monotonic() - begun
    print(f"{count} seeds from {first}: clean; {count / took:.1f} seeds/s; digest {digests.hexdigest()[:16]}")
    return 0


def mutants(server: Server, only: str, within: int) -> int:
    """Hunt mutants; 1 if one that does harm was not caught, or one that is called harmless was."""
    chosen = [mutant for mutant in ALL if only in mutant.name]
    caught = wrong = 0
    for catch in hunt(server, chosen, within):
        name, harmless = catch.mutant.name, catch.mutant.harmless
        if catch.problem:
            print(f"caught  {name} (seed {catch.seeds - 1}): {catch.problem[:120]}", flush=True)
        else:
            print(f"missed  {name}: {harmless or 'NOT EXPLAINED'}", flush=True)
        caught += bool(catch.problem)
        wrong += bool(catch.problem) == bool(harmless)
    print(f"{caught} of {len(chosen)} mutants caught within {within} seeds; {wrong} not as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a history
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())

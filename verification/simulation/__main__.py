"""`python -m verification.simulation`: many histories, told in one line; or the first that breaks a rule, told in full.

A history is a function of its seed, of the code and of PYTHONHASHSEED, which this sets.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time

from verification.simulation.crew import Crew, crew
from verification.simulation.mutants import ALL, WITHIN
from yadtq_core.settings import usable_cores


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m verification.simulation", description="The protocol under test.")
    parser.add_argument("--seeds", type=int, default=100, help="how many histories (default 100)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default 0)")
    parser.add_argument("--history", action="store_true", help="show each history")
    parser.add_argument("--mutants", action="store_true", help="put in deliberate mistakes, one by one: each is caught")
    parser.add_argument("--only", default="", help="mutants whose names have this in them")
    parser.add_argument("--within", type=int, default=WITHIN, help=f"seeds for each mutant (default {WITHIN})")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes (default: one a core)")
    given = parser.parse_args()
    try:
        with crew(given.jobs) as hands:
            if given.mutants:
                return mutants(hands, given.only, given.within)
            return seeds(hands, given.first, given.seeds, show=given.history)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def seeds(hands: Crew, first: int, count: int, *, show: bool) -> int:
    """Run seeds; print a summary, or what was broken and how it came to that."""
    begun, digests = time.monotonic(), hashlib.sha256()
    for told in hands.seeds(range(first, first + count), show=show):
        digests.update(told.digest.encode())
        if told.text:
            print(told.text)
        if told.problem:
            print(f"seed {told.seed} ({told.theme}): {told.problem}")
            print(f"again: .venv/bin/python -m verification.simulation --seeds 1 --from {told.seed}")
            return 1
    took = time.monotonic() - begun
    print(f"{count} seeds from {first}: clean; {count / took:.1f} seeds/s; digest {digests.hexdigest()[:16]}")
    return 0


def mutants(hands: Crew, only: str, within: int) -> int:
    """Hunt mutants; return 1 if one escaped that has no reason, or one with a reason was caught."""
    chosen = [mutant for mutant in ALL if only in mutant.name]
    caught = wrong = 0
    for mutant, count, problem in hands.mutants(chosen, within):
        said = f"seed {count - 1}: {problem[:100]}" if problem else mutant.missed or "NOT EXPLAINED"
        print(f"{'caught' if problem else 'missed'}  {mutant.name}: {said}", flush=True)
        caught += bool(problem)
        wrong += bool(problem) == bool(mutant.missed)
    print(f"{caught} of {len(chosen)} mutants caught within {within} seeds; {wrong} not as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a history
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "verification.simulation", *sys.argv[1:]])
    sys.exit(main())

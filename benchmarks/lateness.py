"""How late due work begins beside a backlog: `python -m benchmarks.lateness [--backlog N …] [--tier TIER …]`.

For each tier and size one worker with two slots serves the queue `default`. Half of the backlog is in that queue, in
tasks of 50 ms, far more than the worker ends meanwhile. The other half is in a queue that no worker serves. Then 200
calls with delays of 1 to 20 s are submitted. The lateness of a call is the time from the end of its delay to the start
of its run, by the times in its record. A run that begins at once still waits for the task that has the slot.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.engine import Engine
from benchmarks.measures import percentile
from benchmarks.services import Services, running
from yadtq_core import Call, call

TIERS = ("kafka", "streams")
BACKLOGS = (0, 10_000, 1_000_000)
CALLS = 200
SHORTEST, LONGEST = 1.0, 20.0
TASK_SECONDS = 0.05
PIECE = 20_000
PATIENCE_SECONDS = 300.0
UNSERVED = "bulk"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lateness", description=__doc__.partition("\n")[0])
    parser.add_argument("--backlog", type=int, nargs="+", default=BACKLOGS, metavar="N", help="tasks that wait")
    parser.add_argument("--tier", choices=TIERS, nargs="+", default=TIERS, help="what carries the tasks")
    given = parser.parse_args(arguments)
    with ExitStack() as at_end:
        services = at_end.enter_context(running(_tell))
        folder = Path(at_end.enter_context(TemporaryDirectory(prefix="yadtq-lateness-")))
        print("| tier | waiting tasks | late p50 | late p99 | latest |\n|---|--:|--:|--:|--:|", flush=True)
        for tier in given.tier:
            for backlog in given.backlog:
                late = _measured(services, folder, tier, backlog)
                shown = (percentile(late, 0.5), percentile(late, 0.99), max(late))
                cells = " | ".join(f"{seconds:.2f} s" for seconds in shown)
                print(f"| {tier} | {backlog:,} | {cells} |", flush=True)
    return 0


def _measured(services: Services, folder: Path, tier: str, backlog: int) -> list[float]:
    """Return the lateness of each delayed call, in seconds."""
    engine = Engine(services, f"{tier}-{backlog}", folder, streams=tier == "streams")
    try:
        engine.client.provision([UNSERVED])
        _tell(f"{tier}: submitting a backlog of {backlog:,}")
        for piece in _pieces(backlog // 2):
            engine.client.submit_many(call("sleep", TASK_SECONDS) for _ in range(piece))
            engine.client.submit_many(_unserved() for _ in range(piece))
        worker = engine.start(2)
        try:
            engine.wait_online(worker)
            return _late(engine)
        finally:
            worker.stop()
    finally:
        engine.close()
        services.drop(engine.namespace)


def _pieces(count: int) -> Iterator[int]:
    while count > 0:
        yield min(count, PIECE)
        count -= PIECE


def _unserved() -> Call[object]:
    return call("add", 1, 2, 3).using(queue=UNSERVED)


def _late(engine: Engine) -> list[float]:
    delays = [random.uniform(SHORTEST, LONGEST) for _ in range(CALLS)]
    handles = engine.client.submit_many(call("add", 1, 2, 3).using(delay=delay) for delay in delays)
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        records = engine.client.query([handle.id for handle in handles])
        begun = [record.started_at for record in records if record is not None and record.started_at is not None]
        if len(begun) == CALLS:
            break
        if time.monotonic() > until:
            raise TimeoutError(f"{len(begun)} of {CALLS} delayed calls have begun after {PATIENCE_SECONDS:g} s")
        time.sleep(0.5)
    due = [record.submitted_at + delay for record, delay in zip(records, delays, strict=True) if record is not None]
    return [start - at for start, at in zip(begun, due, strict=True)]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

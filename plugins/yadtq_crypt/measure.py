"""Measure the cost of the codec per task, for the table in the README: `python plugins/yadtq_crypt/measure.py`.

CPU time, the minimum of many short rounds, so that other load on the machine does not count.
"""

from __future__ import annotations

import os
import sys
import time
import timeit
from collections.abc import Callable

from yadtq_core.wire.json_format import JsonSerializer
from yadtq_core.wire.payloads import Payloads
from yadtq_crypt.codec import CryptCodec

TASK = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
JSON = "application/json"
TURNS = 100
SECONDS = 0.002
"""About the length of one round."""


def cost(function: Callable[[], object]) -> float:
    """Return microseconds a call."""
    once = min(timeit.repeat(function, number=10, repeat=20, timer=time.process_time)) / 10
    number = max(1, int(SECONDS / max(once, 1e-7)))
    return min(timeit.repeat(function, number=number, repeat=TURNS, timer=time.process_time)) / number * 1e6


def row(size: int) -> tuple[float, ...]:
    """Return the added microseconds for a text of this size: arguments written and read, result written and read."""
    json = JsonSerializer()
    codec = CryptCodec({"2026-11": os.urandom(32)}, "2026-11")
    plain, sealed = (Payloads({"json": json}, {"crypt": codec}, applied) for applied in ((), ("crypt",)))
    data = json.dumps([["x" * size], {}])
    arguments, names = sealed.outgoing_arguments(data, TASK)
    carried = bytes(arguments)
    result, content_type = sealed.outgoing_result(data, JSON, TASK)
    return (
        cost(lambda: sealed.outgoing_arguments(data, TASK)) - cost(lambda: plain.outgoing_arguments(data, TASK)),
        cost(lambda: sealed.arguments(carried, names, TASK)) - cost(lambda: plain.arguments(data, "", TASK)),
        cost(lambda: sealed.outgoing_result(data, JSON, TASK)) - cost(lambda: plain.outgoing_result(data, JSON, TASK)),
        cost(lambda: sealed.result(result, content_type, TASK)) - cost(lambda: plain.result(data, JSON, TASK)),
    )


def main() -> None:
    """Write the table."""
    sys.stdout.write("| text of | arguments written | read | result written | read |\n|---|---|---|---|---|\n")
    for size in (100, 10_000, 100_000):
        cells = " | ".join(f"{microseconds:.1f} µs" for microseconds in row(size))
        sys.stdout.write(f"| {size:,} bytes | {cells} |\n")


if __name__ == "__main__":
    main()

"""The invariants of processes: recovery after a kill, progress of the others, memory, and an orderly shutdown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from verification.faults import history as h
from verification.faults.view import Rules, View


def lost_runs_start_again_soon(view: View, rules: Rules) -> Iterator[str]:
    """I11: the runs of a killed worker begin again within the limit."""
    if rules.restart is not None:
        for task_id, seconds in restarts(view):
            if seconds > rules.restart:
                yield f"{task_id} was begun again {seconds:.1f} s after its worker's fault"


def restarts(view: View) -> list[tuple[str, float]]:
    """Return (ID, seconds) from a worker's fault to the next start of what it ran."""
    found = []
    for fault in view.of(h.Fault):
        if fault.since != "b":
            continue
        for task_id, starts in view.starts.items():
            later = sorted(start.b for start in starts if start.b > fault.b)
            ran = [start for start in starts if start.b <= fault.b and start.worker in fault.repeats]
            ran = [start for start in ran if view.given_up.get((task_id, start.fence), fault.b) >= fault.b]
            if ran and later and not any(end.a <= fault.b for end in view.ends.get(task_id, ())):
                found.append((task_id, later[0] - fault.b))
    return found


def work_goes_on(view: View, rules: Rules) -> Iterator[str]:
    """I15: while tasks wait, the gap between two ends stays below the limit, during any single fault."""
    if rules.gap is None:
        return
    times = sorted(end.a for ends in view.ends.values() for end in ends)
    for before, after in pairwise([0.0, *times]):
        if after - before > rules.gap and (waited := after - max(before, _work_since(view, before))) > rules.gap:
            yield f"nothing finished for {waited:.1f} s"


def _work_since(view: View, at: float) -> float:
    """Return since when there was something that had been accepted and did not end until then."""
    waiting = (since for task_id, since in view.accepted.items() if not any(end <= at for end in view.ended(task_id)))
    return min(waiting, default=math.inf)


def memory_is_bounded(view: View, rules: Rules) -> Iterator[str]:
    """I17: no worker's own process grows beyond the limit."""
    most: dict[str, int] = {}
    for sample in view.of(h.Memory):
        most[sample.worker] = max(most.get(sample.worker, 0), sample.resident)
    for worker, resident in most.items():
        if rules.memory is not None and resident > rules.memory:
            yield f"worker {worker} held {resident / 1e6:.0f} MB"


def a_told_end_is_orderly(view: View, rules: Rules) -> Iterator[str]:
    """I18: a worker that is asked to end does so with code 0, and nothing that it held waits for its lease."""
    for exited in view.of(h.Exited):
        if exited.code != 0:
            yield f"worker {exited.worker} was asked to end and exited with {exited.code}"
        if rules.handover is None:
            continue
        for task_id, starts in view.starts.items():
            held = [start for start in starts if start.worker == exited.worker and start.b < exited.a]
            later = sorted(start.b for start in starts if start.b > exited.a)
            ended = any(end.a <= exited.a for end in view.ends.get(task_id, ()))
            if held and later and not ended and later[0] - exited.a > rules.handover:
                yield f"{task_id} waited {later[0] - exited.a:.1f} s after the exit of {exited.worker}"

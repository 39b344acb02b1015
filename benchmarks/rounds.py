"""One run: each round measures both sides in turn, so that a change of the machine's load affects both."""

from __future__ import annotations

import gc
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

from benchmarks import by_hand, processes
from benchmarks.by_hand import ARGUMENTS, TASK, Submitted, Topic
from benchmarks.engine import YADTQ, Cpu, Engine, Worker
from benchmarks.measures import Measure, Samples, Side, percentile
from benchmarks.scripts import Store
from benchmarks.services import Services

LINGER_MS = 5
THREADS = 32
_RECORDS = 200
"""Finished records whose memory is measured."""
_MB = 1_000_000
_PEER_SECONDS = 30.0
_PATIENCE = 60.0
_LONGEST_PAUSE = 8.0
"""Seconds; the group removes a member after 10 s of silence."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a run: tasks in bulk, rounds, and single submits and round trips per round."""

    tasks: int
    rounds: int
    single: int
    threaded: int
    round_trips: int


class ByHand:
    """The connections of the raw side, open for the whole run."""

    def __init__(self, services: Services, at_end: ExitStack) -> None:
        self.services = services
        self.prefix = f"{services.run}-raw:"
        self.bulk, self.singles = services.topic("bulk"), services.topic("singles")
        self.store = at_end.enter_context(closing(Store(services.redis_url, self.prefix)))
        self.in_bulk = at_end.enter_context(closing(by_hand.producer(self.bulk, LINGER_MS)))
        self.at_once = at_end.enter_context(closing(by_hand.producer(self.singles, 0)))
        self.polled = at_end.enter_context(by_hand.consumer(self.bulk, f"{services.run}-raw"))
        self.round_trip = self._round_trip(services, services.topic("trips"), at_end)

    def _round_trip(self, services: Services, topic: Topic, at_end: ExitStack) -> by_hand.RoundTrip:
        """Start the process that answers."""
        channel = f"{services.run}-answers"
        trip = at_end.enter_context(closing(by_hand.RoundTrip(self.store, self.at_once, topic, channel)))
        peer = multiprocessing.get_context("spawn").Process(
            target=by_hand.serve, args=(topic, services.redis_url, self.prefix, channel), daemon=True
        )
        peer.start()
        at_end.callback(peer.join)
        at_end.callback(peer.terminate)
        trip.wait_ready(_PEER_SECONDS)
        return trip


class Run:
    """All rounds of one run. `report` receives the progress."""

    def __init__(
        self, services: Services, scale: Scale, folder: Path, at_end: ExitStack, report: Callable[[str], None]
    ) -> None:
        self.samples = Samples()
        self.remarks: list[str] = []
        self._services = services
        self._scale = scale
        self._report = report
        self._raw = ByHand(services, at_end)
        self._one = self._engine("one", folder, at_end)
        self._two = self._engine("two", folder, at_end)
        self._single = self._engine("single", folder, at_end)
        self._starts = self._engine("starts", folder, at_end)
        self._record = at_end.enter_context(closing(self._single.connect("record")))
        self._worker_one = self._worker(self._one, 1, at_end)
        self._worker_two = self._worker(self._two, 2, at_end)

    def measure(self) -> Samples:
        """Take all samples."""
        self._memory(Measure.WORKER_MEMORY, Measure.CHILD_MEMORY)
        self._warm_up()
        for number in range(self._scale.rounds):
            self._report(f"round {number + 1} of {self._scale.rounds}")
            for side_by_side in self._things():
                # The sides change places every round, because the second finds the services busy with the first's work.
                for one in side_by_side if number % 2 == 0 else side_by_side[::-1]:
                    gc.collect()
                    one()
        self._record_bytes()
        self._memory(Measure.WORKER_MEMORY_AFTER, None)
        return self.samples

    def _things(self) -> list[list[Callable[[], None]]]:
        """Return the steps of a round; the steps of one list are compared."""
        return [
            [
                self._bulk_by_hand,
                lambda: self._bulk(self._one, self._worker_one, Measure.EXECUTE_ONE),
                lambda: self._bulk(self._two, self._worker_two, Measure.EXECUTE_TWO),
            ],
            [self._one_by_one_by_hand, self._one_by_one],
            [self._round_trips_by_hand, self._round_trips],
            [self._start_by_hand, self._start],
            [self._start_worker],
        ]

    # -- in bulk -----------------------------------------------------------------------------------------------------

    def _bulk_by_hand(self) -> None:
        raw, tasks = self._raw, self._scale.tasks
        calls = self._services.script_calls()
        submitted = by_hand.submit(raw.store, raw.in_bulk, raw.bulk, tasks)
        cpu = time.process_time()
        seconds = by_hand.execute(raw.store, raw.polled, tasks)
        self._add(Measure.EXECUTE_CPU, "raw", (time.process_time() - cpu) / tasks * 1000)
        self._submitted("raw", submitted)
        self._add(Measure.SCRIPT_CALLS, "raw", (self._services.script_calls() - calls) / tasks)
        for measure in (Measure.EXECUTE_ONE, Measure.EXECUTE_TWO):
            self._add(measure, "raw", tasks / seconds)

    def _bulk(self, engine: Engine, worker: Worker, measure: Measure) -> None:
        """Queue all tasks while the worker is paused; the time counts from its resume."""
        tasks = self._scale.tasks
        calls, ended, used = self._services.script_calls(), engine.ended(), worker.cpu()
        paused = time.perf_counter()
        with worker.paused():
            submitted = engine.submit(tasks)
        begun = time.perf_counter()
        engine.wait_ended(worker, ended + submitted.tasks)
        seconds = time.perf_counter() - begun
        self._add(measure, "yadtq", tasks / seconds)
        self._pause_was(begun - paused)
        if measure is Measure.EXECUTE_ONE:
            self._submitted("yadtq", submitted)
            self._add(Measure.SCRIPT_CALLS, "yadtq", (self._services.script_calls() - calls) / tasks)
            self._worker_cpu(used, worker, tasks)

    def _submitted(self, side: Side, submitted: Submitted) -> None:
        tasks = self._scale.tasks
        self._add(Measure.SUBMIT_MANY, side, tasks / submitted.acknowledged)
        self._add(Measure.SUBMIT_MANY_CONFIRMED, side, tasks / submitted.confirmed)
        self._add(Measure.SUBMIT_CPU, side, submitted.cpu / tasks * 1000)

    def _pause_was(self, seconds: float) -> None:
        if seconds > _LONGEST_PAUSE:
            self.remarks.append(
                f"A worker was paused for {seconds:.1f} s while its tasks were submitted. It may have had to rejoin "
                "its group, and that time then counts as execution. Use fewer tasks."
            )

    def _worker_cpu(self, before: Cpu, worker: Worker, tasks: int) -> None:
        if not processes.AVAILABLE:
            return
        after = worker.cpu()
        parent, children = after.parent - before.parent, after.children - before.children
        self._add(Measure.EXECUTE_CPU, "yadtq", (parent + children) / tasks * 1000)
        self._add(Measure.EXECUTE_CPU_PARENT, "yadtq", parent / tasks * 1000)
        self._add(Measure.EXECUTE_CPU_CHILDREN, "yadtq", children / tasks * 1000)

    # -- one by one --------------------------------------------------------------------------------------------------

    def _one_by_one_by_hand(self) -> None:
        raw, scale = self._raw, self._scale
        partitions = cycle(range(raw.singles.partitions))

        def submit(_: int) -> None:
            by_hand.submit_one(raw.store, raw.at_once, raw.singles, next(partitions))

        def record(_: int) -> None:
            by_hand.record_one(raw.store, raw.at_once, raw.singles, next(partitions))

        self._rate(Measure.SUBMIT_ONE, "raw", scale.single, 1, submit)
        self._rate(Measure.SUBMIT_RECORD, "raw", scale.single, 1, record)
        self._rate(Measure.SUBMIT_THREADS, "raw", scale.threaded, THREADS, submit)

    def _one_by_one(self) -> None:
        """Submit to a namespace without a worker, so that nothing is executed at the same time."""
        scale, client, behind = self._scale, self._single.client, self._record
        self._rate(Measure.SUBMIT_ONE, "yadtq", scale.single, 1, lambda _: client.submit(TASK, *ARGUMENTS))
        self._rate(Measure.SUBMIT_RECORD, "yadtq", scale.single, 1, lambda _: behind.submit(TASK, *ARGUMENTS))
        self._rate(Measure.SUBMIT_THREADS, "yadtq", scale.threaded, THREADS, lambda _: client.submit(TASK, *ARGUMENTS))

    def _rate(self, measure: Measure, side: Side, tasks: int, threads: int, action: Callable[[int], object]) -> None:
        self._add(measure, side, tasks / by_hand.one_by_one(tasks, threads, action))

    # -- round trips -------------------------------------------------------------------------------------------------

    def _round_trips_by_hand(self) -> None:
        self._trips("raw", self._raw.round_trip.once)

    def _round_trips(self) -> None:
        self._trips("yadtq", self._one.round_trip)

    def _trips(self, side: Side, once: Callable[[], float]) -> None:
        times = [once() * 1000 for _ in range(self._scale.round_trips)]
        self._add(Measure.ROUND_TRIP_50, side, percentile(times, 0.5))
        self._add(Measure.ROUND_TRIP_99, side, percentile(times, 0.99))

    # -- starts ------------------------------------------------------------------------------------------------------

    def _start_by_hand(self) -> None:
        raw = self._raw
        command = [sys.executable, "-m", "benchmarks.one_off"]
        arguments = [raw.singles.servers[0], self._services.redis_url, raw.singles.name, raw.prefix]
        self._process(Measure.START_SUBMIT, "raw", [*command, *arguments])

    def _start(self) -> None:
        self._process(Measure.START_SUBMIT, "yadtq", [YADTQ, "submit", TASK, json.dumps(ARGUMENTS)])
        self._process(Measure.START_HELP, "yadtq", [YADTQ, "--help"])

    def _process(self, measure: Measure, side: Side, command: Sequence[str]) -> None:
        begun = time.perf_counter()
        subprocess.run(
            command, env=self._single.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True
        )
        self._add(measure, side, time.perf_counter() - begun)

    def _start_worker(self) -> None:
        engine = self._starts
        waiting = engine.client.submit(TASK, *ARGUMENTS)
        begun = time.perf_counter()
        worker = engine.start(1)
        try:
            engine.wait_online(worker)
            self._add(Measure.START_WORKER, "yadtq", time.perf_counter() - begun)
            waiting.result(timeout=_PATIENCE)
            self._add(Measure.START_FIRST, "yadtq", time.perf_counter() - begun)
        finally:
            worker.stop()

    # -- memory, and the steps before and after the rounds -----------------------------------------------------------

    def _warm_up(self) -> None:
        """Run a few tasks on every process, so that the first round is like the others."""
        self._report("warming up")
        raw, few = self._raw, min(self._scale.tasks, by_hand.POLL)
        by_hand.submit(raw.store, raw.in_bulk, raw.bulk, few)
        by_hand.execute(raw.store, raw.polled, few)
        raw.round_trip.once()
        for engine, worker in ((self._one, self._worker_one), (self._two, self._worker_two)):
            before = engine.ended()
            engine.wait_ended(worker, before + engine.submit(few).tasks)
        self._one.round_trip()
        for client in (self._single.client, self._record):
            client.submit(TASK, *ARGUMENTS)

    def _memory(self, own: Measure, child: Measure | None) -> None:
        if not processes.AVAILABLE:
            return
        pid = self._worker_one.process.pid
        self._add(own, "yadtq", processes.resident_bytes(pid) / _MB)
        if child is not None:
            self._add(child, "yadtq", max(map(processes.resident_bytes, processes.children(pid))) / _MB)

    def _record_bytes(self) -> None:
        patterns: dict[Side, str] = {
            "raw": f"{self._raw.prefix}task:*",
            "yadtq": f"yadtq:{{{self._one.namespace}:0}}:task:*",
        }
        for side, pattern in patterns.items():
            if sizes := self._services.bytes_of(pattern, _RECORDS):
                self._add(Measure.RECORD_BYTES, side, median(sizes))

    def _engine(self, name: str, folder: Path, at_end: ExitStack) -> Engine:
        return at_end.enter_context(closing(Engine(self._services, name, folder)))

    def _worker(self, engine: Engine, children: int, at_end: ExitStack) -> Worker:
        self._report(f"starting a worker with {children} child{'ren' if children > 1 else ''}")
        worker = engine.start(children)
        at_end.callback(worker.stop)
        engine.wait_online(worker)
        return worker

    def _add(self, measure: Measure, side: Side, value: float) -> None:
        self.samples.add(measure, side, value)

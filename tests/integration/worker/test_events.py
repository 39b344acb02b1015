"""The events of a real worker: plugins get all of them in order, even if one of the plugins fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from yadtq_core import Client, call, hookimpl
from yadtq_core.model import Outcome, Status, WorkerIdentity
from yadtq_core.plugin import hookspecs, load_plugins, open_backend, open_broker
from yadtq_core.settings import Settings
from yadtq_core.testing import EventRecorder, wait_until
from yadtq_core.worker.assembly import Assembly
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.rules.budget import BUDGET
from yadtq_core.worker.worker import Worker

URL = "memory://"
IDENTITY = WorkerIdentity("w", "i", "host", 1, 0.0)
BROKEN = [hook for hook in hookspecs.EVENTS if hook.startswith(("yadtq_tasks", "yadtq_worker", "yadtq_heartbeat"))]


def broken() -> object:
    """Return a plugin that raises in every event of a worker."""

    def method(self: object) -> None:
        raise RuntimeError("out of order")

    return type("Broken", (), {hook: hookimpl(method) for hook in BROKEN})()


@contextmanager
def working(namespace: str, *plugins: object) -> Iterator[tuple[Client, Events]]:
    """Run a worker with these plugins; yield a client with them too, and the worker's events."""
    settings = Settings(broker=URL, backend=URL, namespace=namespace, processes=1, claim_stale_seconds=1.0)
    loaded = load_plugins(*plugins)
    broker, backend = open_broker(settings), open_backend(settings)
    broker.ensure(settings.queues, create=True)
    executor = Executor(settings, ["tests.integration.chores"])
    executor.start()
    events = Events(loaded, IDENTITY)
    worker = Worker(Assembly(settings, IDENTITY, broker, backend, executor=executor, events=events))
    worker.start()
    with Client(settings, plugins=loaded) as client:
        yield client, events
        worker.stop()
        wait_until(lambda: worker.all_done, "nothing runs")
        worker.close()


def test_the_events_of_a_worker_in_their_order_beside_a_plugin_that_raises_in_each(namespace: str) -> None:
    recorder, bad = EventRecorder(), broken()
    with working(namespace, bad, recorder) as (client, _):
        handles = client.submit_many(call("chores.add", number, 1) for number in range(300))
        assert [handle.result(timeout=60) for handle in handles] == [number + 1 for number in range(300)]
        wait_until(lambda: "heartbeat" in recorder.names, "a heartbeat was told")
        failures = dict(client._opened._plugins.manager.failures)
    names = recorder.names
    assert names[0] == "worker_started"
    assert names[-2:] == ["worker_stopping", "worker_stopped"] or names[-1] == "worker_stopped"
    ids = {handle.id for handle in handles}
    assert {lease.id for lease in recorder.of("tasks_started")} == ids
    assert {outcome.id for outcome in recorder.of("tasks_finished")} == ids
    assert len(recorder.of("tasks_finished")) == 300
    assert {message.id for message in recorder.of("tasks_submitted")} == ids
    batches = names.count("tasks_started") + names.count("tasks_finished")
    assert batches < 300, "events come in batches"
    told: set[str] = set()
    for event in recorder.events:
        if event.name == "tasks_started":
            told |= {lease.id for lease in event.batch}
        elif event.name == "tasks_finished":
            assert {outcome.id for outcome in event.batch} <= told, "no run ends before its start was reported"
    assert {hook for _, hook in failures} >= {"yadtq_worker_started", "yadtq_tasks_finished", "yadtq_tasks_submitted"}
    assert {plugin for plugin, _ in failures} == {"Broken"}


class Stuck:
    """A listener that blocks until the test lets it return."""

    def __init__(self) -> None:
        self.go = threading.Event()

    @hookimpl
    def yadtq_tasks_finished(self) -> None:
        self.go.wait(60)


def test_a_listener_that_hangs_holds_up_no_task_and_heartbeats_count_what_was_dropped(namespace: str) -> None:
    stuck = Stuck()
    with working(namespace, stuck) as (client, events):
        for number in range(3):
            assert client.submit("chores.add", number, 1).result(timeout=60) == number + 1
        large = Outcome("id", "t", Status.SUCCESS, 1, 1, "w", "default", {}, 0.0, 0.0, 0.0, result=b"x" * BUDGET)
        for _ in range(7):
            events.finished([large])
        assert events.dropped >= 6
        wait_until(lambda: client.workers()[0].stats.events_dropped == events.dropped, "a heartbeat has told it")
        stuck.go.set()

"""The worker's main thread: opens, starts, watches over signals, children and threads, and closes.

first SIGTERM or SIGINT     drain: leave the group, hand back what has not begun, let runs end within the grace
second                      hand back what runs, now
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Sequence
from types import FrameType

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend, Broker
from yadtq_core.model import WorkerIdentity
from yadtq_core.plugin.loading import Plugins, load_plugins, open_backend, open_broker
from yadtq_core.settings import Settings, masked_url
from yadtq_core.worker.assembly import Assembly
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.restart import process_started, requeue_of_last_life
from yadtq_core.worker.watchdog import Watchdog
from yadtq_core.worker.worker import Worker

log = logging.getLogger("yadtq.worker")

CLOSE_SECONDS = 1.0
"""For what the broker has not acknowledged yet: sweeps publish it again."""
_LOOK_SECONDS = 0.2
_HAND_BACK_SECONDS = 10.0


class Signals:
    """Counts the signals that ask the process to end."""

    def __init__(self) -> None:
        self.count = 0
        self.changed = threading.Event()

    def install(self) -> None:
        """Take SIGTERM and SIGINT; only the main thread may."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._came)

    def _came(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        self.changed.set()


def run_worker(settings: Settings, imports: Sequence[str] = (), *, lenient: bool = False) -> int:
    """Run one worker until it is told to stop; return the exit code.

    settings: as loaded; its `imports` are loaded too. imports: further modules of tasks. lenient: start without
    plugins and tasks that cannot be loaded; their tasks are left to other workers.

    Raises what keeps it from starting: Unavailable, ConfigurationRefused, TaskLoadError, PluginError, InvalidSetting.
    """
    signals = Signals()
    signals.install()
    modules = [*settings.imports, *imports]
    plugins = load_plugins()
    if plugins.errors and not lenient:
        raise plugins.errors[0]
    settings = plugins.configure(settings)
    backend = open_backend(settings, plugins)
    try:
        broker = open_broker(settings, plugins)
        try:
            executor = Executor(settings, modules, lenient=lenient)
            return _run(settings, plugins, broker, backend, executor=executor, signals=signals)
        finally:
            broker.close(CLOSE_SECONDS)
    finally:
        backend.close()


def _run(
    settings: Settings, plugins: Plugins, broker: Broker, backend: Backend, *, executor: Executor, signals: Signals
) -> int:
    try:
        backend.check()
        identity = _identity(settings)
        requeue_of_last_life(backend, identity)
        broker.ensure(settings.queues, create=True)
        executor.start(signals.changed)
        if signals.count:
            executor.close()
            return 0
        _banner(settings, executor, plugins)
        events = Events(plugins, identity)
        worker = Worker(Assembly(settings, identity, broker, backend, executor=executor, events=events))
        worker.start()
        return _watch(worker, executor, settings, signals)
    except YadtqError:
        executor.close()
        raise


def _watch(worker: Worker, executor: Executor, settings: Settings, signals: Signals) -> int:
    children, watchdog = Respawner(executor), Watchdog(worker.slowest)
    while not signals.count and worker.crashed is None:
        signals.changed.wait(_LOOK_SECONDS)
        children.look()
        watchdog.look()
    return _stop(worker, settings, signals)


def _stop(worker: Worker, settings: Settings, signals: Signals) -> int:
    grace = settings.shutdown_grace if worker.crashed is None else 0.0
    log.info("stopping: runs may go on for %g s; a second signal ends them now", grace)
    until = time.monotonic() + grace
    worker.stop()
    _wait_until_idle(worker, until, signals, enough=2)
    if not worker.idle:
        log.warning("handing back what still runs")
        worker.kill_runs()
        _wait_until_idle(worker, time.monotonic() + _HAND_BACK_SECONDS, signals, enough=3)
    worker.close()
    log.info("stopped; tasks executed: %d", worker.executed)
    return 0 if worker.crashed is None else 1


def _wait_until_idle(worker: Worker, until: float, signals: Signals, *, enough: int) -> None:
    while not worker.idle and time.monotonic() < until and signals.count < enough and worker.crashed is None:
        signals.changed.clear()
        signals.changed.wait(0.02)


class Respawner:
    """Replaces children that died; ever slower where they die before they are ready."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._not_before = 0.0
        self._pause = 0.0

    def look(self) -> None:
        """Start children that are missing, if it is time; end those that hang while they load their tasks."""
        now = time.monotonic()
        self._executor.kill_overdue()
        if not self._executor.died.is_set() or now < self._not_before:
            return
        self._pause = min(30.0, self._pause * 2 or 1.0) if self._executor.problem else 0.0
        self._not_before = now + self._pause
        try:
            self._executor.respawn()
        except OSError as error:  # no memory or no process to be had just now
            log.error("a child cannot be started: %s", error)
            self._not_before = now + 1.0
            self._executor.died.set()


def _identity(settings: Settings) -> WorkerIdentity:
    pid = os.getpid()
    started = process_started(pid) or 0.0
    return WorkerIdentity(settings.worker_id, secrets.token_hex(6), socket.gethostname(), pid, started)


def _banner(settings: Settings, executor: Executor, plugins: Plugins) -> None:
    log.info(
        "worker %s: broker %s, backend %s, namespace %s",
        settings.worker_id,
        masked_url(settings.broker),
        masked_url(settings.backend),
        settings.namespace,
    )
    log.info(
        "queues: %s; %d children with %d slot(s) each; lease %g s",
        ", ".join(settings.queues),
        settings.processes,
        settings.threads,
        settings.claim_stale_seconds,
    )
    log.info(
        "tasks: %s",
        ", ".join(sorted(executor.tasks)) or "none: name a module (`yadtq worker shop`) or install a plugin",
    )
    named = [f"{row.name} ({row.origin})" for row in plugins.rows[1:] if row.error is None and not row.blocked]
    if named:
        log.info("plugins: %s", ", ".join(named))

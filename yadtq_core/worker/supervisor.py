"""The main thread of a worker: opens the services, starts children and threads, watches them, and shuts down.

first SIGTERM or SIGINT     drain: leave the group, requeue the runs that have not begun, let the others end in time
second                      kill the children and requeue their runs now
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
from contextlib import ExitStack
from types import FrameType

from yadtq_core.child.stop_signals import STOP_SIGNALS
from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend, Broker
from yadtq_core.model import WorkerIdentity
from yadtq_core.plugin.loading import Plugins, load_plugins, open_backend, open_broker
from yadtq_core.settings import Settings, masked_url
from yadtq_core.worker.assembly import Assembly
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.restart import process_started, recover
from yadtq_core.worker.watchdog import Watchdog
from yadtq_core.worker.worker import Worker

log = logging.getLogger("yadtq.worker")

CLOSE_SECONDS = 1.0
"""How long to wait for messages without an acknowledgement; sweeps publish those that are left."""
_LOOK_SECONDS = 0.2
_REQUEUE_SECONDS = 10.0
_OUTCOME_SECONDS = 4.0
"""How long a stopping worker in which nothing runs waits for a backend that takes none of the last outcomes."""


class Signals:
    """Counts the signals that ask the process to end."""

    def __init__(self) -> None:
        self.count = 0
        self.changed = threading.Event()

    def install(self) -> None:
        """Handle SIGTERM and SIGINT. Only the main thread may call it."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._came)

    def _came(self, number: int, _: FrameType | None) -> None:
        self.count += 1
        self.changed.set()


def run_worker(settings: Settings, imports: Sequence[str] = (), *, lenient: bool = False) -> int:
    """Run one worker until a signal stops it; return the exit code.

    settings: as loaded; its `imports` are loaded too. imports: further modules of tasks. lenient: start without
    the plugins and tasks that cannot be loaded; the tasks are requeued for other workers.

    Raises Unavailable, ConfigurationRefused, TaskLoadError, PluginError or InvalidSetting if the worker cannot start.
    """
    signals = Signals()
    signals.install()
    modules = [*settings.imports, *imports]
    plugins = load_plugins()
    if plugins.errors and not lenient:
        raise plugins.errors[0]
    settings = plugins.configure(settings)
    with ExitStack() as opened:
        backend = open_backend(settings, plugins)
        opened.callback(backend.close)
        broker = open_broker(settings, plugins)
        opened.callback(broker.close, CLOSE_SECONDS)
        executor = Executor(settings, modules, lenient=lenient)
        return _run(settings, plugins, broker, backend, executor=executor, signals=signals)


def _run(
    settings: Settings, plugins: Plugins, broker: Broker, backend: Backend, *, executor: Executor, signals: Signals
) -> int:
    try:
        backend.check()
        identity = _identity(settings)
        recover(backend, identity)
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
    log.info("stopping: runs may go on for %g s; a second signal requeues them now", grace)
    until = time.monotonic() + grace
    worker.stop()
    patience = _Patience(worker)
    _wait_until_done(worker, until, patience, signals, enough=2)
    if worker.running:
        log.warning("requeueing %d task(s) that still run", worker.running)
        worker.kill_runs()
    _wait_until_done(worker, time.monotonic() + _REQUEUE_SECONDS, patience, signals, enough=3)
    worker.close()
    if worker.unwritten and not worker.all_done:
        log.error("%d outcome(s) could not be written: their tasks run again when their leases end", worker.unwritten)
    log.info("stopped; tasks executed: %d", worker.executed)
    return 0 if worker.crashed is None else 1


def _wait_until_done(worker: Worker, until: float, patience: _Patience, signals: Signals, *, enough: int) -> None:
    """Wait until the worker is done, at most until a time, a crash or a number of signals, or while outcomes wait."""
    crashed = worker.crashed
    while not worker.all_done and worker.crashed is crashed and signals.count < enough:
        now = time.monotonic()
        if now >= until or patience.ended(now):
            return
        signals.changed.clear()
        signals.changed.wait(0.02)


class _Patience:
    """The wait of a worker in which nothing runs: it ends when no outcome was written for _OUTCOME_SECONDS."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._unwritten = -1
        self._until = 0.0

    def ended(self, now: float) -> bool:
        """True if the wait has ended. Call it again and again while the worker waits."""
        unwritten = self._worker.unwritten
        if self._worker.running or unwritten != self._unwritten:
            self._unwritten, self._until = unwritten, now + _OUTCOME_SECONDS
        return now >= self._until


class Respawner:
    """Replaces dead children, with a growing delay when they die before they are ready."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._not_before = 0.0
        self._pause = 0.0

    def look(self) -> None:
        """Start missing children if it is time; kill those that hang while they load their tasks."""
        now = time.monotonic()
        self._executor.kill_overdue()
        if not self._executor.died.is_set() or now < self._not_before:
            return
        self._pause = min(30.0, self._pause * 2 or 1.0) if self._executor.problem else 0.0
        self._not_before = now + self._pause
        try:
            self._executor.respawn()
        except OSError as error:  # out of memory or processes
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

"""The checks behind `yadtq doctor`: plain functions that check one thing each and return findings.

A broker or backend checks itself (`Broker.findings`, `Backend.findings`). The checks of this file concern both of
them, the workers and the installed packages. No check writes anything.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from yadtq_core.client.client import Client
from yadtq_core.errors import ConfigurationRefused, TaskLoadError, Unavailable, YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import DELAYED, Counts, Finding, Level, Status, WorkerRow, ok, problem, some, warning
from yadtq_core.net.tls import is_loopback
from yadtq_core.plugin.loading import Plugins, load_plugins, open_backend, open_broker
from yadtq_core.plugin.registry import Registry
from yadtq_core.settings import Settings, masked_url

MAX_NAMED = 10
"""Tasks or workers that one finding names."""
_SHOW_REMEDY = "see `yadtq task list`"


class Report(NamedTuple):
    """All findings; `unreachable` is true if a service could not be reached."""

    findings: list[Finding]
    unreachable: bool

    def count(self, level: Level) -> int:
        """Return the number of findings of this level."""
        return sum(finding.level is level for finding in self.findings)


def run_checks(settings: Settings, version: str) -> Report:
    """Run every check and return the report; a service that cannot be reached becomes a finding.

    version: the version of yadtq that workers are compared with.
    Raises InvalidSetting for an address that cannot be used.
    """
    plugins = load_plugins()
    settings = plugins.configure(settings)
    registry = Registry(settings.imports)
    findings = [
        ok("yadtq", f"yadtq {version} on Python {platform.python_version()}"),
        *installed(plugins, registry),
        *exposure("broker", settings.broker, settings.broker_password),
        *exposure("backend", settings.backend, settings.backend_password),
    ]
    unreachable = False
    with ExitStack() as at_end:
        backend = open_backend(settings, plugins)
        at_end.callback(backend.close)
        broker = open_broker(settings, plugins)
        at_end.callback(broker.close, 1.0)
        for name, check in (
            ("backend", backend.findings),
            ("workers", lambda: _workers(backend, registry, version)),
            ("broker", lambda: broker.findings(_now_ms(backend))),
        ):
            if name == "workers" and unreachable:
                continue
            found, reached = _run(name, check)
            findings += found
            unreachable = unreachable or not reached
    if not unreachable and plugins.manager.implemented("yadtq_health"):
        findings += _by_plugins(settings, plugins)
    return Report(findings, unreachable)


def _by_plugins(settings: Settings, plugins: Plugins) -> list[Finding]:
    """Return the findings of plugins; a plugin that raises becomes a finding."""
    try:
        with Client(settings, plugins=plugins) as client:
            return [
                one
                for plugin, found in plugins.manager.call_each("yadtq_health", client=client)
                for one in _valid(plugin, found)
            ]
    except YadtqError as error:
        return [problem("plugins", str(error), "")]


def _valid(plugin: str, found: Any) -> list[Finding]:
    """Return a plugin's findings; an answer of another type becomes a finding."""
    try:
        findings = list(found)
    except Exception as error:
        return [problem("plugins", f"plugin {plugin}: yadtq_health failed: {type(error).__name__}: {error}", "")]
    wrong = [one for one in findings if not isinstance(one, Finding)]
    if wrong:
        return [problem("plugins", f"plugin {plugin}: yadtq_health gave {wrong[0]!r:.80}, not a Finding", "")]
    return findings


def _run(name: str, check: Callable[[], Iterable[Finding]]) -> tuple[list[Finding], bool]:
    """Return the findings of a check, and whether the service was reached.

    An error becomes a finding; its text contains the remedy.
    """
    found: list[Finding] = []
    try:
        found.extend(check())
    except (Unavailable, ConfigurationRefused) as error:
        return [*found, problem(name, str(error), "")], not isinstance(error, Unavailable)
    return found, True


def _now_ms(backend: Backend) -> int:
    """Return the backend's time, or this machine's if the backend does not answer."""
    try:
        return backend.time_ms()
    except (Unavailable, ConfigurationRefused):
        return int(time.time() * 1000)


def _workers(backend: Backend, registry: Registry, version: str) -> list[Finding]:
    rows, counts = backend.workers(), backend.counts()
    return [
        *workers(rows, counts),
        *dropped_events(rows),
        *versions(rows, version),
        *queues(rows, counts),
        *tasks(rows, _names(registry)),
    ]


def _names(registry: Registry) -> list[str]:
    return [row.name for row in registry.describe() if row.error is None]


def exposure(setting: str, address: str, password: str) -> Iterator[Finding]:
    """Yield a warning for an address on another machine without TLS or without a login.

    password: the password from the settings, empty if none is set.
    """
    scheme, _, rest = address.partition("://")
    if scheme.startswith("unix"):
        return
    secret = bool(password) or "@" in rest or "sasl" in address.lower() or "password" in address or "cert=" in address
    encrypted = scheme.startswith("rediss") or "ssl" in scheme or "tls" in scheme
    hosts = [urlsplit(f"//{part.rpartition('@')[2]}").hostname for part in urlsplit(address).netloc.split(",")]
    far = [host for host in hosts if host is not None and not is_loopback(host)]
    if far and not (secret and encrypted):
        lacks = " and ".join(
            word for word, there in (("no TLS", encrypted), ("no user and password", secret)) if not there
        )
        remedy = f"outside a trusted network use TLS and a password: see {setting} in docs/configuration.md"
        yield warning("exposure", f"{setting} {masked_url(address)} is on another machine, with {lacks}", remedy)


def installed(plugins: Plugins, registry: Registry) -> Iterator[Finding]:
    """Yield the tasks that are installed here, and a problem for each plugin or task that cannot be loaded."""
    for error in plugins.errors:
        yield problem("plugin", str(error), "repair or uninstall it: workers refuse to start")
    rows = registry.describe()
    for row in rows:
        if row.error is not None:
            yield problem("task", row.error, "repair or uninstall it: submits of this task are refused")
    good = [row for row in rows if row.error is None]
    origins = sorted({row.origin for row in good})
    yield ok("tasks", f"{some(len(good), 'task')} here" + (f", from {_list(origins)}" if origins else ""))
    try:
        registry.names()
    except TaskLoadError as error:
        if str(error) not in {row.error for row in rows}:
            yield problem("task", str(error), _SHOW_REMEDY)


def workers(rows: Sequence[WorkerRow], counts: Counts) -> Iterator[Finding]:
    """Check that workers are online, have different names, and did not stop without notice."""
    online = [row for row in rows if row.online]
    waiting = sum(counts.total(status) for status in (Status.QUEUED, *DELAYED))
    if not online:
        found = f"no worker is online, and {some(waiting, 'task')} {'waits' if waiting == 1 else 'wait'}"
        make = problem if waiting else warning
        yield make("workers", found if waiting else "no worker is online", "start one: `yadtq worker`")
    else:
        slots, free = (sum(row.stats.slots for row in online), sum(row.stats.free for row in online))
        yield ok("workers", f"{some(len(online), 'worker')} online, {free} of {some(slots, 'slot')} free")
    names = [row.identity.id for row in online]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield warning(
            "workers", f"several workers have the name {_list(twice)}", "give each worker its own --id or WORKER_ID"
        )
    gone = sorted({row.identity.id for row in rows if not row.online and row.stats.state != "offline"} - set(names))
    if gone:
        found = f"{_list(gone)} stopped sending heartbeats within the last hour"
        yield warning("workers", found, "read its log; other workers take over its tasks")


def dropped_events(rows: Sequence[WorkerRow]) -> Iterator[Finding]:
    """Yield a warning for each online worker that has dropped events because a plugin was too slow."""
    for row in rows:
        if row.online and (dropped := row.stats.events_dropped):
            yield warning(
                "events",
                f"{row.identity.id} has dropped {some(dropped, 'call')} of event hooks, because a plugin is too slow",
                "its log names the plugin: let the hook hand over its data and return",
            )


def versions(rows: Sequence[WorkerRow], version: str) -> Iterator[Finding]:
    """Yield a warning for workers of another yadtq version."""
    for other in sorted({row.stats.version for row in rows if row.online} - {version}):
        names = sorted(row.identity.id for row in rows if row.online and row.stats.version == other)
        run = "runs" if len(names) == 1 else "run"
        found = f"{_list(names)} {run} yadtq {other or 'of unknown version'}; this is {version}"
        yield warning(
            "versions", found, "upgrade all to one version; mixed versions are supported only during an upgrade"
        )


def queues(rows: Sequence[WorkerRow], counts: Counts) -> Iterator[Finding]:
    """Yield a problem for each queue that holds tasks and that no online worker serves.

    Without any online worker it yields nothing: `workers` reports that.
    """
    served = {queue for row in rows if row.online for queue in row.stats.queues}
    for queue, by_status in sorted(counts.queues.items()):
        waiting = by_status.get(Status.QUEUED, 0)
        if waiting > 0 and served and queue not in served:
            found = f"queue {queue} holds {some(waiting, 'task')}, and no worker serves it"
            yield problem("queue", found, f"start one: `yadtq worker -Q {queue}`")


def tasks(rows: Sequence[WorkerRow], names: Iterable[str]) -> Iterator[Finding]:
    """Check that workers and this installation know the same tasks."""
    online = [row for row in rows if row.online]
    theirs = {task for row in online for task in row.stats.tasks}
    here = set(names)
    if online and here - theirs:
        found = (
            f"no worker has loaded {_list(sorted(here - theirs))}, which this installation can submit: it would wait"
        )
        yield warning("tasks", found, "start the workers with the same modules and packages")
    if theirs - here:
        found = f"workers have loaded {_list(sorted(theirs - here))}, unknown here: submit does not check its arguments"
        yield ok("tasks", found)
    for name in sorted(theirs):
        lacking = sorted(row.identity.id for row in online if name not in row.stats.tasks)
        if lacking:
            found = f"task {name} is loaded in some workers, but not in {_list(lacking)}"
            yield warning("tasks", found, "start all workers of a queue with the same tasks")


def _list(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")

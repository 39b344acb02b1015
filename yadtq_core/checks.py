"""The checks behind `yadtq doctor`: plain functions that look at one thing each and return findings.

What only one broker or backend can say of itself it says by its own `findings`; here is what concerns both, the
workers, and what is installed. Nothing is written anywhere.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from yadtq_core.client.client import Client
from yadtq_core.errors import ConfigurationRefused, TaskLoadError, Unavailable, YadtqError
from yadtq_core.findings import Finding, Level, ok, problem, some, warning
from yadtq_core.interfaces import Backend
from yadtq_core.model import Counts, Status, WorkerRow
from yadtq_core.net.tls import is_loopback
from yadtq_core.plugin.loading import Plugins, load_plugins, open_backend, open_broker
from yadtq_core.plugin.registry import Registry
from yadtq_core.settings import Settings, masked_url

MAX_NAMED = 10
"""How many tasks or workers a finding names."""
_SHOW_REMEDY = "see `yadtq task list`"


class Report(NamedTuple):
    """All findings, and whether a service could not be reached."""

    findings: list[Finding]
    unreachable: bool

    def count(self, level: Level) -> int:
        """Return how many findings have this level."""
        return sum(finding.level is level for finding in self.findings)


def examine(settings: Settings, version: str) -> Report:
    """Look at everything; what cannot be reached is a finding. version: of this yadtq.

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
    backend = open_backend(settings, plugins)
    broker = open_broker(settings, plugins)
    unreachable = False
    try:
        for check, look in (
            ("backend", backend.findings),
            ("workers", lambda: _workers(backend, registry, version)),
            ("broker", lambda: broker.findings(_now_ms(backend))),
        ):
            if check == "workers" and unreachable:
                continue
            found, reached = _looked(check, look)
            findings += found
            unreachable = unreachable or not reached
    finally:
        broker.close(1.0)
        backend.close()
    if not unreachable and plugins.manager.heard("yadtq_health"):
        findings += _of_plugins(settings, plugins)
    return Report(findings, unreachable)


def _of_plugins(settings: Settings, plugins: Plugins) -> list[Finding]:
    """Return what plugins find; one that raises is a finding too."""
    try:
        with Client(settings, plugins=plugins) as client:
            return [
                one
                for plugin, found in plugins.manager.each("yadtq_health", client=client)
                for one in _checked(plugin, found)
            ]
    except YadtqError as error:
        return [problem("plugins", str(error), "")]


def _checked(plugin: str, found: Any) -> list[Finding]:
    """Return a plugin's findings; an answer that is no list of them is a finding itself."""
    try:
        findings = list(found)
    except Exception as error:
        return [problem("plugins", f"plugin {plugin}: yadtq_health failed: {type(error).__name__}: {error}", "")]
    wrong = [one for one in findings if not isinstance(one, Finding)]
    if wrong:
        return [problem("plugins", f"plugin {plugin}: yadtq_health gave {wrong[0]!r:.80}, not a Finding", "")]
    return findings


def _looked(check: str, look: Callable[[], Iterable[Finding]]) -> tuple[list[Finding], bool]:
    """Return findings, and whether the service was reached; what it raises is a finding, its remedy in its text."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except (Unavailable, ConfigurationRefused) as error:
        return [*found, problem(check, str(error), "")], not isinstance(error, Unavailable)
    return found, True


def _now_ms(backend: Backend) -> int:
    """Return the backend's time; this machine's own where the backend does not answer."""
    try:
        return backend.time_ms()
    except (Unavailable, ConfigurationRefused):
        return int(time.time() * 1000)


def _workers(backend: Backend, registry: Registry, version: str) -> list[Finding]:
    rows, counts = backend.workers(), backend.counts()
    return [
        *workers(rows, counts),
        *versions(rows, version),
        *queues(rows, counts),
        *tasks(rows, _names(registry)),
    ]


def _names(registry: Registry) -> list[str]:
    return [row.name for row in registry.describe() if row.error is None]


def exposure(setting: str, address: str, password: str) -> Iterator[Finding]:
    """Yield a warning where what is sent can be read on its way, or where anybody may connect.

    password: the setting of its own, where the address has none.
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
        remedy = f"use TLS and a password outside of a trusted network: see {setting} in the docs on configuration"
        yield warning("exposure", f"{setting} {masked_url(address)} is on another machine, with {lacks}", remedy)


def installed(plugins: Plugins, registry: Registry) -> Iterator[Finding]:
    """Yield what is installed here, and what of it cannot be loaded."""
    for error in plugins.errors:
        yield problem("plugin", str(error), "repair or uninstall it: no worker starts with it")
    rows = registry.describe()
    for row in rows:
        if row.error is not None:
            yield problem("task", row.error, "repair or uninstall it: submits of it are refused")
    good = [row for row in rows if row.error is None]
    origins = sorted({row.origin for row in good})
    yield ok("tasks", f"{some(len(good), 'task')} here" + (f", from {_list(origins)}" if origins else ""))
    try:
        registry.names()
    except TaskLoadError as error:
        if str(error) not in {row.error for row in rows}:
            yield problem("task", str(error), _SHOW_REMEDY)


def workers(rows: Sequence[WorkerRow], counts: Counts) -> Iterator[Finding]:
    """Yield who works, and who is gone."""
    online = [row for row in rows if row.online]
    waiting = counts.total(Status.QUEUED) + counts.total(Status.SCHEDULED)
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
        yield warning("workers", f"several workers are called {_list(twice)}", "give each its own --id or WORKER_ID")
    gone = sorted({row.identity.id for row in rows if not row.online and row.stats.state != "offline"} - set(names))
    if gone:
        found = f"{_list(gone)} went without a word within the last hour"
        yield warning("workers", found, "see its log; what it ran is run by others")


def versions(rows: Sequence[WorkerRow], version: str) -> Iterator[Finding]:
    """Yield a warning for workers of another yadtq than ours."""
    for other in sorted({row.stats.version for row in rows if row.online} - {version}):
        names = sorted(row.identity.id for row in rows if row.online and row.stats.version == other)
        run = "runs" if len(names) == 1 else "run"
        found = f"{_list(names)} {run} yadtq {other or 'of unknown version'}, here is {version}"
        yield warning("versions", found, "bring all to one version; a mix is meant for the time of an upgrade")


def queues(rows: Sequence[WorkerRow], counts: Counts) -> Iterator[Finding]:
    """Yield a problem for each queue that holds tasks and is served by nobody, while there are workers."""
    served = {queue for row in rows if row.online for queue in row.stats.queues}
    for queue, by_status in sorted(counts.queues.items()):
        waiting = by_status.get(Status.QUEUED, 0)
        if waiting > 0 and served and queue not in served:
            found = f"queue {queue} holds {some(waiting, 'task')}, and no worker serves it"
            yield problem("queue", found, f"start one: `yadtq worker -Q {queue}`")


def tasks(rows: Sequence[WorkerRow], names: Iterable[str]) -> Iterator[Finding]:
    """Yield the tasks that are known on one side only."""
    online = [row for row in rows if row.online]
    theirs = {task for row in online for task in row.stats.tasks}
    here = set(names)
    if online and here - theirs:
        found = f"no worker knows {_list(sorted(here - theirs))}, known here: submitted, it would wait"
        yield warning("tasks", found, "start workers with the same modules and packages, or install them there")
    if theirs - here:
        found = f"workers know {_list(sorted(theirs - here))}, not known here: arguments are not checked at submit"
        yield ok("tasks", found)
    for name in sorted(theirs):
        lacking = sorted(row.identity.id for row in online if name not in row.stats.tasks)
        if lacking:
            found = f"task {name} is known to some workers, and not to {_list(lacking)}"
            yield warning("tasks", found, "start all workers of a queue with the same tasks")


def _list(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")

"""The hooks that plugins implement (pluggy, project name `yadtq`).

    from yadtq_core import hookimpl

    @hookimpl
    def yadtq_tasks_finished(worker, outcomes): ...

The core never calls a hook once per task. *Wiring* hooks are asked once, when a client, a worker or a child opens;
*binding* hooks once per task definition, and what they return runs as plain functions; *events* come in batches.
A wiring hook that raises stops the start; a binding hook that raises fails the runs of its task; both are told with
the plugin's name. An event hook that raises (or calls sys.exit) is logged with its plugin's name and counted, and
nothing else: no run, submit or other plugin is touched by it. All hooks are plain functions, never coroutines; what
events are given is frozen. `docs/hooks.md` has an example of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pluggy

from yadtq_core.interfaces import BackendFactory, BrokerFactory, Codec, Serializer
from yadtq_core.model import (
    ChildIdentity,
    Counts,
    Due,
    Finding,
    Lease,
    Message,
    Outcome,
    Record,
    Refuse,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
)
from yadtq_core.settings import Settings
from yadtq_core.tasks.retry import RetryPolicy
from yadtq_core.tasks.run import Run
from yadtq_core.tasks.task import Task

PROJECT = "yadtq"
API_VERSION = 1
"""Of what this page promises. A plugin may say `YADTQ_API = 1`; another number than this is refused."""

EVENTS = frozenset(
    {
        "yadtq_tasks_submitted",
        "yadtq_tasks_started",
        "yadtq_tasks_finished",
        "yadtq_tasks_reclaimed",
        "yadtq_worker_started",
        "yadtq_worker_stopping",
        "yadtq_worker_stopped",
        "yadtq_child_started",
        "yadtq_child_stopping",
        "yadtq_heartbeat",
    }
)
"""Hooks whose errors are logged and counted, never raised."""


class HealthClient(Protocol):
    """The calls of a `Client` that `yadtq_health` may make: they change nothing."""

    @property
    def settings(self) -> Settings:
        """The settings of the client."""
        ...

    def query(self, ids: Iterable[str]) -> list[Record | None]:
        """Return the record of each ID, None for one that is not found."""
        ...

    def counts(self) -> Counts:
        """Return how many tasks each queue has in each status."""
        ...

    def workers(self) -> Sequence[WorkerRow]:
        """Return the workers that have sent a heartbeat within the last hour."""
        ...


TaskRunner = Callable[..., Any]
"""`runner(*args, **kwargs)`: the innermost call of a run; for an `async def` task it returns what is awaited."""
TaskContext = Callable[[Run], AbstractContextManager[Any]]
"""`context(run)`: entered around every run of one task."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# Wiring: asked once, when a client, a worker or a child opens.


@hookspec
def yadtq_settings() -> Mapping[str, type]:  # type: ignore[empty-body]
    """Return {section: msgspec Struct}: settings of the plugin's own, checked as the core's are.

    `[tool.yadtq.SECTION]` in pyproject.toml, `[SECTION]` in yadtq.toml, YADTQ_SECTION_FIELD in the environment.
    Read them by `settings.section(TheStruct)`.
    """


@hookspec
def yadtq_configure(settings: Settings) -> None:
    """Take the settings in force; called once, before any other hook but `yadtq_settings`."""


@hookspec
def yadtq_brokers() -> Mapping[str, BrokerFactory]:  # type: ignore[empty-body]
    """Return {URL scheme: factory}. Asked once, before a broker is opened; two plugins with one scheme: an error."""


@hookspec
def yadtq_backends() -> Mapping[str, BackendFactory]:  # type: ignore[empty-body]
    """Return {URL scheme: factory}. Asked once, before a backend is opened; two plugins with one scheme: an error."""


@hookspec
def yadtq_serializers() -> Sequence[Serializer]:  # type: ignore[empty-body]
    """Return serializers for results; names and content types are unique among all plugins."""


@hookspec
def yadtq_codecs() -> Sequence[Codec]:  # type: ignore[empty-body]
    """Return codecs for arguments and results. The setting `codecs` says which are applied, in which order."""


@hookspec
def yadtq_health(client: HealthClient) -> Iterable[Finding]:  # type: ignore[empty-body]
    """Return what `yadtq doctor` should say; asked with an open client, changes nothing."""


# Binding: asked once per task definition, in each child.


@hookspec(firstresult=True)
def yadtq_task_runner(task: Task[..., Any]) -> TaskRunner | None:
    """Return how the innermost call of a task is made, None to leave it to others.

    The core's own answer, the last asked, is the task's function.
    """


@hookspec
def yadtq_task_context(task: Task[..., Any]) -> TaskContext | None:
    """Return what makes a context manager for each run, None where this task is of no interest.

    Entered around the conversion of the arguments and the call, for sync and async tasks alike, in the slot's
    thread; it sees the exception. What it raises fails the run; what it swallows is raised all the same.
    """


@hookspec(firstresult=True)
def yadtq_result_serializer(task: Task[..., Any]) -> str | None:
    """Return the name of the serializer for a task's results, None to leave it to others (the core says `json`)."""


@hookspec(firstresult=True)
def yadtq_retry_policy(task: Task[..., Any]) -> RetryPolicy | None:
    """Return when failed runs of a task are repeated, None to leave it to others (the core says what @task says)."""


# Around a submit, in the client.


@hookspec
def yadtq_before_submit(messages: Sequence[Message]) -> Sequence[Refuse | None] | None:
    """Look at messages before their records are written; return None, or a Refuse or None for each.

    Called in the thread (and the context) of whoever submits. Headers may be added to in place, up to the limit
    that holds for a caller's own; nothing else may be changed. A refused message does not touch the others; an
    error that this raises refuses them all.
    """


@hookspec
def yadtq_tasks_submitted(messages: Sequence[Message]) -> None:
    """New tasks were accepted: the broker has them (with `confirm="record"` or a delay: their records stand).

    Called before whoever submits has its answer: be quick, and submit nothing (that is refused).
    """


# Events of a worker, in its own process, in a thread for listeners.


@hookspec
def yadtq_worker_started(worker: WorkerIdentity) -> None:
    """The worker's children are ready and its first heartbeat has been sent: the first event of all."""


@hookspec
def yadtq_tasks_started(worker: WorkerIdentity, leases: Sequence[Lease]) -> None:
    """Tasks were claimed and given to the children."""


@hookspec
def yadtq_tasks_finished(worker: WorkerIdentity, outcomes: Sequence[Outcome]) -> None:
    """Runs ended and their records say so; `scheduled` is a failed run that is to be repeated.

    An outcome that was refused, as another run has the record, is not told.
    """


@hookspec
def yadtq_tasks_reclaimed(worker: WorkerIdentity, records: Sequence[Due]) -> None:
    """A sweep of this worker took back tasks whose workers were lost."""


@hookspec
def yadtq_heartbeat(worker: WorkerIdentity, stats: WorkerStats) -> None:
    """The worker's heartbeat was answered; every third of the lease."""


@hookspec
def yadtq_worker_stopping(worker: WorkerIdentity) -> None:
    """The worker was told to stop; runs go on for the grace time."""


@hookspec
def yadtq_worker_stopped(worker: WorkerIdentity, stats: WorkerStats) -> None:
    """The worker holds nothing any more and is about to end; the last event."""


# Events of a child.


@hookspec
def yadtq_child_started(child: ChildIdentity) -> None:
    """A child has loaded its tasks and is about to run them: open what belongs to a process."""


@hookspec
def yadtq_child_stopping(child: ChildIdentity) -> None:
    """A child has run its last task: flush and close, within 2 s. A child that is killed is not asked."""

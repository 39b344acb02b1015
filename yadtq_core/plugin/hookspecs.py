"""The hooks that plugins implement (pluggy, project name `yadtq`).

    from yadtq_core.plugin import hookimpl

    @hookimpl
    def yadtq_tasks_finished(worker, outcomes): ...

The core never calls a hook once per task. *Wiring* hooks are called once, when a client, a worker or a child opens: an
exception stops the start. *Binding* hooks are called once per task definition, when a child starts, and the functions
that they return run around each call: after an exception of the hook this worker leaves the task to others. Both errors
name the plugin. *Events* come in batches: an exception (or sys.exit) is logged with the plugin's name and counted, and
affects no run, submit or other plugin.

All hooks are plain functions, never coroutines. A hook may leave out parameters. The arguments of events are frozen.
`docs/hooks.md` has an example of each hook.
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
"""Version of the hooks. A plugin may declare `YADTQ_API = 1`; another number is refused."""

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
"""`runner(*args, **kwargs)`: the innermost call of a run. For an `async def` task it returns an awaitable."""
TaskContext = Callable[[Run], AbstractContextManager[Any]]
"""`context(run)` returns a context manager, which is entered around one run."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# Wiring: called once, when a client, a worker or a child opens.


@hookspec
def yadtq_settings() -> Mapping[str, type]:  # type: ignore[empty-body]
    """Return {section: msgspec Struct}, the settings of the plugin.

    yadtq reads and checks them like its own: `[tool.yadtq.SECTION]` in pyproject.toml, `[SECTION]` in yadtq.toml and
    YADTQ_SECTION_FIELD in the environment. `settings.section(TheStruct)` returns the values.
    """


@hookspec
def yadtq_configure(settings: Settings) -> None:
    """Receive the settings in force. Called once, before every other hook except `yadtq_settings`."""


@hookspec
def yadtq_brokers() -> Mapping[str, BrokerFactory]:  # type: ignore[empty-body]
    """Return {URL scheme: factory}. Called once, before a broker is opened. A scheme of two plugins is an error."""


@hookspec
def yadtq_backends() -> Mapping[str, BackendFactory]:  # type: ignore[empty-body]
    """Return {URL scheme: factory}. Called once, before a backend is opened. A scheme of two plugins is an error."""


@hookspec
def yadtq_serializers() -> Sequence[Serializer]:  # type: ignore[empty-body]
    """Return serializers for results. Names and content types must be unique among all plugins."""


@hookspec
def yadtq_codecs() -> Sequence[Codec]:  # type: ignore[empty-body]
    """Return codecs for arguments and results. The setting `codecs` selects and orders the ones that are applied."""


@hookspec
def yadtq_health(client: HealthClient) -> Iterable[Finding]:  # type: ignore[empty-body]
    """Return findings for `yadtq doctor`. The hook must change nothing.

    client: open, with the settings of the command.
    """


# Binding: called once per task definition, when a child starts, after `yadtq_child_started`.


@hookspec(firstresult=True)
def yadtq_task_runner(task: Task[..., Any]) -> TaskRunner | None:
    """Return the function that makes the innermost call of a task, None to leave it to other plugins.

    The core is asked last; it returns the task's function.
    """


@hookspec
def yadtq_task_context(task: Task[..., Any]) -> TaskContext | None:
    """Return a function that makes a context manager for each run, None to ignore this task.

    It is entered in the slot's thread, around the conversion of the arguments and the call, for sync and async tasks
    alike, and it sees the exception of the run. An exception of the context fails the run. It cannot suppress the
    exception of the run.
    """


@hookspec(firstresult=True)
def yadtq_result_serializer(task: Task[..., Any]) -> str | None:
    """Return the name of the serializer for the results of a task, None to leave it to others (default `json`)."""


@hookspec(firstresult=True)
def yadtq_retry_policy(task: Task[..., Any]) -> RetryPolicy | None:
    """Return the retry policy of a task, None to leave it to others (default: the options of @task)."""


# Around a submit, in the client.


@hookspec
def yadtq_before_submit(messages: Sequence[Message]) -> Sequence[Refuse | None] | None:
    """Inspect messages before their records are written. Return None, or one Refuse or None for each message.

    Called in the thread and the context of the caller of `submit`. The hook may add headers in place, up to the same
    limit as a caller; it must change nothing else. A refused message does not affect the others. An exception refuses
    all of them.
    """


@hookspec
def yadtq_tasks_submitted(messages: Sequence[Message]) -> None:
    """New tasks were accepted: the broker has them, or with `confirm="record"` or a delay their records exist.

    Called before `submit` returns, so it must be fast. A submit from this hook is refused.
    """


# Events of a worker, in the worker's process, in a thread for listeners.


@hookspec
def yadtq_worker_started(worker: WorkerIdentity) -> None:
    """The worker's children are ready and its first heartbeat was answered. This is the first event of a worker."""


@hookspec
def yadtq_tasks_started(worker: WorkerIdentity, leases: Sequence[Lease]) -> None:
    """Tasks were claimed and sent to the children."""


@hookspec
def yadtq_tasks_finished(worker: WorkerIdentity, outcomes: Sequence[Outcome]) -> None:
    """Runs ended and their records were written. The status `scheduled` is a failed run that will be repeated.

    An outcome that was refused, because another run has the record, is left out.
    """


@hookspec
def yadtq_tasks_reclaimed(worker: WorkerIdentity, records: Sequence[Due]) -> None:
    """A sweep of this worker reclaimed tasks of lost workers."""


@hookspec
def yadtq_heartbeat(worker: WorkerIdentity, stats: WorkerStats) -> None:
    """A regular heartbeat of the worker was answered, which happens three times per lease."""


@hookspec
def yadtq_worker_stopping(worker: WorkerIdentity) -> None:
    """The worker was asked to stop. Runs continue for at most `shutdown_grace` seconds."""


@hookspec
def yadtq_worker_stopped(worker: WorkerIdentity, stats: WorkerStats) -> None:
    """The worker holds no lease any more and is about to exit. This is the last event of a worker."""


# Events of a child.


@hookspec
def yadtq_child_started(child: ChildIdentity) -> None:
    """A child has loaded its tasks and is about to bind and run them: open the resources of the process here."""


@hookspec
def yadtq_child_stopping(child: ChildIdentity) -> None:
    """A child has run its last task: flush and close within 2 s. A child that is killed does not call this hook."""

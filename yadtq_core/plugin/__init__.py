"""Everything that a plugin imports: the marker of hooks, and the types that hooks receive and return.

    from yadtq_core.plugin import Outcome, WorkerIdentity, hookimpl

    @hookimpl
    def yadtq_tasks_finished(worker: WorkerIdentity, outcomes: Sequence[Outcome]) -> None: ...

`hookspecs` specifies each hook. `load_plugins`, `open_broker` and `open_backend` open the services of some settings, as
a client does.
"""

from yadtq_core.interfaces import (
    Backend,
    BackendFactory,
    Broker,
    BrokerFactory,
    ChildIdentity,
    Codec,
    Counts,
    Due,
    Finding,
    Lease,
    Level,
    Message,
    Outcome,
    Record,
    Refuse,
    Serializer,
    Status,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
)
from yadtq_core.plugin.hookspecs import API_VERSION, HealthClient, TaskContext, TaskRunner, hookimpl
from yadtq_core.plugin.loading import Plugins, load_plugins, open_backend, open_broker
from yadtq_core.settings import Settings
from yadtq_core.tasks.retry import RetryPolicy
from yadtq_core.tasks.run import Run
from yadtq_core.tasks.task import Task

__all__ = [
    "API_VERSION",
    "Backend",
    "BackendFactory",
    "Broker",
    "BrokerFactory",
    "ChildIdentity",
    "Codec",
    "Counts",
    "Due",
    "Finding",
    "HealthClient",
    "Lease",
    "Level",
    "Message",
    "Outcome",
    "Plugins",
    "Record",
    "Refuse",
    "RetryPolicy",
    "Run",
    "Serializer",
    "Settings",
    "Status",
    "Task",
    "TaskContext",
    "TaskRunner",
    "WorkerIdentity",
    "WorkerRow",
    "WorkerStats",
    "hookimpl",
    "load_plugins",
    "open_backend",
    "open_broker",
]

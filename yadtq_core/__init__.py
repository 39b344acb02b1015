"""yadtq: a distributed task queue. Kafka carries the tasks, Redis keeps the records.

    from yadtq_core import Client, task

    @task
    def resize(path: str, width: int = 800) -> str: ...

    with Client.connect() as client:
        print(client.submit(resize, "a.png", width=640).result(timeout=10))

These are the public names of an application. Plugins import from `yadtq_core.plugin` and may use `.interfaces`,
`.errors`, `.settings`, `.wire` (decode), `.testing`, `.cli` (the shared parts of commands) and `.local_stack` (the file
of a local stack). Importing this package loads neither kafka nor redis.
"""

from yadtq_core.client.call import Call, call
from yadtq_core.client.client import Client
from yadtq_core.client.handle import Handle
from yadtq_core.errors import (
    BackendUnavailable,
    BrokerUnavailable,
    CodecError,
    ConfigurationRefused,
    EnvelopeError,
    IdConflict,
    InvalidArguments,
    InvalidId,
    InvalidInput,
    InvalidSetting,
    InvalidTask,
    LocalStackError,
    OutcomeUnknown,
    PluginError,
    SerializationError,
    SubmitRefused,
    TaskCancelled,
    TaskFailed,
    TaskLoadError,
    TaskNotFound,
    Unavailable,
    UnknownTask,
    WaitTimeout,
    YadtqError,
)
from yadtq_core.model import CancelCode, Outcome, Record, Refuse, Status
from yadtq_core.plugin.hookspecs import hookimpl
from yadtq_core.tasks.retry import Retry, RetryPolicy
from yadtq_core.tasks.run import Cancelled, Run, current
from yadtq_core.tasks.task import Task, task

__version__ = "0.1.0"

__all__ = [
    "BackendUnavailable",
    "BrokerUnavailable",
    "Call",
    "CancelCode",
    "Cancelled",
    "Client",
    "CodecError",
    "ConfigurationRefused",
    "EnvelopeError",
    "Handle",
    "IdConflict",
    "InvalidArguments",
    "InvalidId",
    "InvalidInput",
    "InvalidSetting",
    "InvalidTask",
    "LocalStackError",
    "Outcome",
    "OutcomeUnknown",
    "PluginError",
    "Record",
    "Refuse",
    "Retry",
    "RetryPolicy",
    "Run",
    "SerializationError",
    "Status",
    "SubmitRefused",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskLoadError",
    "TaskNotFound",
    "Unavailable",
    "UnknownTask",
    "WaitTimeout",
    "YadtqError",
    "__version__",
    "call",
    "current",
    "hookimpl",
    "task",
]

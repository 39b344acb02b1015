"""A plugin with every hook there is: it notes that it was called, and does what the hook is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from yadtq_core import Refuse, RetryPolicy, Run, Task, hookimpl
from yadtq_core.interfaces import (
    BackendFactory,
    BrokerFactory,
    ChildIdentity,
    Codec,
    Due,
    Finding,
    Lease,
    Message,
    Outcome,
    Serializer,
    WorkerIdentity,
    WorkerStats,
)
from yadtq_core.plugin.hookspecs import HealthClient, TaskContext, TaskRunner
from yadtq_core.settings import Settings


class Own(Struct, frozen=True):
    """The plugin's own settings."""

    factor: int = 1


class Backwards:
    """A codec that turns bytes round."""

    name = "backwards"

    def encode(self, data: bytes, task_id: str) -> bytes:
        """Turn them round."""
        return data[::-1]

    def decode(self, data: bytes, task_id: str) -> bytes:
        """Turn them round again."""
        return data[::-1]


class Shout:
    """A serializer for text alone."""

    name = "shout"
    content_type = "text/x-shout"

    def dumps(self, value: Any) -> bytes:
        """Write it in capitals."""
        return str(value).upper().encode()

    def loads(self, data: bytes) -> Any:
        """Read it."""
        return data.decode()


class EveryHook:
    """Implements every hook; `calls` has their names without `yadtq_`, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)

    @hookimpl
    def yadtq_settings(self) -> Mapping[str, type]:
        self._called("settings")
        return {"own": Own}

    @hookimpl
    def yadtq_configure(self, settings: Settings) -> None:
        self._called("configure")
        self.factor = settings.section(Own).factor

    @hookimpl
    def yadtq_brokers(self) -> Mapping[str, BrokerFactory]:
        self._called("brokers")
        return {}

    @hookimpl
    def yadtq_backends(self) -> Mapping[str, BackendFactory]:
        self._called("backends")
        return {}

    @hookimpl
    def yadtq_serializers(self) -> Sequence[Serializer]:
        self._called("serializers")
        return [Shout()]

    @hookimpl
    def yadtq_codecs(self) -> Sequence[Codec]:
        self._called("codecs")
        return [Backwards()]

    @hookimpl
    def yadtq_health(self, client: HealthClient) -> Sequence[Finding]:
        self._called("health")
        return []

    @hookimpl
    def yadtq_task_runner(self, task: Task[..., Any]) -> TaskRunner:
        self._called("task_runner")

        def runner(*args: Any, **kwargs: Any) -> Any:
            self._called("(runner)")
            return task.function(*args, **kwargs)

        return runner

    @hookimpl
    def yadtq_task_context(self, task: Task[..., Any]) -> TaskContext:
        self._called("task_context")

        @contextmanager
        def context(run: Run) -> Iterator[None]:
            self._called("(enter)")
            try:
                yield
            except Exception as error:
                self._called(f"({type(error).__name__})")
                raise
            finally:
                self._called("(leave)")

        return context

    @hookimpl
    def yadtq_result_serializer(self, task: Task[..., Any]) -> str | None:
        self._called("result_serializer")
        return None

    @hookimpl
    def yadtq_retry_policy(self, task: Task[..., Any]) -> RetryPolicy | None:
        self._called("retry_policy")
        return None

    @hookimpl
    def yadtq_before_submit(self, messages: Sequence[Message]) -> Sequence[Refuse | None] | None:
        self._called("before_submit")
        return None

    @hookimpl
    def yadtq_tasks_submitted(self, messages: Sequence[Message]) -> None:
        self._called("tasks_submitted")

    @hookimpl
    def yadtq_tasks_started(self, worker: WorkerIdentity, leases: Sequence[Lease]) -> None:
        self._called("tasks_started")

    @hookimpl
    def yadtq_tasks_finished(self, worker: WorkerIdentity, outcomes: Sequence[Outcome]) -> None:
        self._called("tasks_finished " + " ".join(outcome.status for outcome in outcomes))

    @hookimpl
    def yadtq_tasks_reclaimed(self, worker: WorkerIdentity, records: Sequence[Due]) -> None:
        self._called("tasks_reclaimed")

    @hookimpl
    def yadtq_worker_started(self, worker: WorkerIdentity) -> None:
        self._called("worker_started")

    @hookimpl
    def yadtq_worker_stopping(self, worker: WorkerIdentity) -> None:
        self._called("worker_stopping")

    @hookimpl
    def yadtq_worker_stopped(self, worker: WorkerIdentity, stats: WorkerStats) -> None:
        self._called("worker_stopped")

    @hookimpl
    def yadtq_child_started(self, child: ChildIdentity) -> None:
        self._called("child_started")

    @hookimpl
    def yadtq_child_stopping(self, child: ChildIdentity) -> None:
        self._called("child_stopping")

    @hookimpl
    def yadtq_heartbeat(self, worker: WorkerIdentity, stats: WorkerStats) -> None:
        self._called("heartbeat")

"""The core's own plugin: its brokers, backends, serializer and runner, offered by the hooks that every plugin uses.

A factory imports its module when it is called, so that listing the schemes loads neither kafka nor redis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from yadtq_core.interfaces import BackendFactory, BrokerFactory, Serializer
from yadtq_core.net.redis_url import SCHEMES
from yadtq_core.plugin.hookspecs import TaskRunner, hookimpl
from yadtq_core.settings import Settings
from yadtq_core.tasks.retry import RetryPolicy
from yadtq_core.tasks.task import Task
from yadtq_core.wire.json_format import JsonSerializer


def _opens(module: str) -> Callable[[Settings], Any]:
    return lambda settings: import_module(module).open(settings)


_kafka, _streams = _opens("yadtq_core.brokers.kafka"), _opens("yadtq_core.brokers.redis_streams")
_memory_broker, _memory = _opens("yadtq_core.brokers.memory"), _opens("yadtq_core.backends.memory")
_redis = _opens("yadtq_core.backends.redis.backend")


@hookimpl
def yadtq_brokers() -> Mapping[str, BrokerFactory]:
    """Offer Kafka, the streams of the Redis or Valkey that keeps the records, and this process's memory."""
    streams = {f"{scheme}+streams": _streams for scheme in SCHEMES}
    return {"kafka": _kafka, "kafka+ssl": _kafka, "memory": _memory_broker, **streams}


@hookimpl
def yadtq_backends() -> Mapping[str, BackendFactory]:
    """Offer Redis and Valkey (plain, with TLS, over a unix socket, through Sentinels), and this process's memory."""
    return {"memory": _memory, **dict.fromkeys(SCHEMES, _redis)}


@hookimpl
def yadtq_serializers() -> Sequence[Serializer]:
    """Offer JSON."""
    return [JsonSerializer()]


@hookimpl(trylast=True)
def yadtq_task_runner(task: Task[..., Any]) -> TaskRunner:
    """Return the task's function."""
    return task.function


@hookimpl(trylast=True)
def yadtq_result_serializer() -> str:
    """Return the JSON serializer."""
    return "json"


@hookimpl(trylast=True)
def yadtq_retry_policy(task: Task[..., Any]) -> RetryPolicy:
    """Return the policy of the task's definition."""
    return task.retry

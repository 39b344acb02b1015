"""The core's own plugin: its brokers, backends, serializer and runner, offered by the hooks that every plugin uses.

A factory imports its module when it is called, so that listing the schemes loads neither kafka nor redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from yadtq_core.interfaces import Backend, BackendFactory, Broker, BrokerFactory, Serializer
from yadtq_core.net.redis_url import SCHEMES
from yadtq_core.plugin.hookspecs import TaskRunner, hookimpl
from yadtq_core.settings import Settings
from yadtq_core.tasks.retry import RetryPolicy
from yadtq_core.tasks.task import Task
from yadtq_core.wire.json_format import JsonSerializer


def _kafka(settings: Settings) -> Broker:
    return cast(Broker, import_module("yadtq_core.brokers.kafka").open(settings))


def _redis_streams(settings: Settings) -> Broker:
    return cast(Broker, import_module("yadtq_core.brokers.redis_streams").open(settings))


def _memory_broker(settings: Settings) -> Broker:
    return cast(Broker, import_module("yadtq_core.brokers.memory").open(settings))


def _memory_backend(settings: Settings) -> Backend:
    return cast(Backend, import_module("yadtq_core.backends.memory").open(settings))


def _redis(settings: Settings) -> Backend:
    return cast(Backend, import_module("yadtq_core.backends.redis.backend").open(settings))


@hookimpl
def yadtq_brokers() -> Mapping[str, BrokerFactory]:
    """Offer Kafka, the streams of the Redis or Valkey that keeps the records, and this process's memory."""
    streams = {f"{scheme}+streams": _redis_streams for scheme in SCHEMES}
    return {"kafka": _kafka, "kafka+ssl": _kafka, "memory": _memory_broker, **streams}


@hookimpl
def yadtq_backends() -> Mapping[str, BackendFactory]:
    """Offer Redis and Valkey (plain, with TLS, over a unix socket, through Sentinels), and this process's memory."""
    return {"memory": _memory_backend, **dict.fromkeys(SCHEMES, _redis)}


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

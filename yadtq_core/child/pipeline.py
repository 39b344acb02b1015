"""Binds a task to its hooks once, and makes one plain function of them.

    contexts, the first registered outermost → conversion of the arguments → runner

After that no run calls a hook: a context costs its own work and one `with`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from yadtq_core.errors import PluginError, SerializationError
from yadtq_core.interfaces import Serializer
from yadtq_core.plugin.hookspecs import TaskContext
from yadtq_core.plugin.loading import Plugins
from yadtq_core.tasks.retry import RetryPolicy
from yadtq_core.tasks.run import Run
from yadtq_core.tasks.task import Task
from yadtq_core.wire.payloads import Payloads

BoundCall = Callable[[Run, list[Any], dict[str, Any]], Any]
"""Runs a task: its run, positional and keyword arguments → its result."""


class Prepared(NamedTuple):
    """A task that is ready to run, with its retry policy and the serializer of its results."""

    call: BoundCall
    retry: RetryPolicy
    serializer: Serializer
    signature_hint: Callable[[str, str], str]


class Pipeline:
    """Binds tasks to the hooks of this process.

    run_async: runs a coroutine on the event loop of the child and returns its result.
    """

    def __init__(self, plugins: Plugins, payloads: Payloads, run_async: Callable[[Any], Any]) -> None:
        self._plugins = plugins
        self._payloads = payloads
        self._run_async = run_async

    def bind(self, task: Task[..., Any]) -> Prepared:
        """Return the task ready to run.

        Raises the errors of the hooks, PluginError if no plugin offers the serializer, and an error of the signature.
        """
        task.read_signature()
        hook = self._plugins.hook
        call = self._innermost(task, hook.yadtq_task_runner(task=task))
        contexts = [context for context in hook.yadtq_task_context(task=task) if context is not None]
        for context in contexts:  # pluggy answers last registered first, so the first registered ends outermost
            call = _within(context, call)
        policy = hook.yadtq_retry_policy(task=task)
        if not isinstance(policy, RetryPolicy):
            raise PluginError(f"a plugin's yadtq_retry_policy gave {policy!r:.80}, not a RetryPolicy")
        return Prepared(call, policy, self._serializer(task), task.signature_hint)

    def _serializer(self, task: Task[..., Any]) -> Serializer:
        try:
            return self._payloads.serializer(self._plugins.hook.yadtq_result_serializer(task=task))
        except SerializationError as error:
            raise PluginError(f"yadtq_result_serializer: {error}") from None

    def _innermost(self, task: Task[..., Any], runner: Callable[..., Any]) -> BoundCall:
        convert, run_async = task.convert, self._run_async

        def call(_: Run, args: list[Any], kwargs: dict[str, Any]) -> Any:
            positional, named = convert(args, kwargs)
            return runner(*positional, **named)

        def call_async(_: Run, args: list[Any], kwargs: dict[str, Any]) -> Any:
            positional, named = convert(args, kwargs)
            return run_async(runner(*positional, **named))

        return call_async if task.is_async else call


def _within(context: TaskContext, call: BoundCall) -> BoundCall:
    def within(run: Run, args: list[Any], kwargs: dict[str, Any]) -> Any:
        failure: BaseException | None = None
        with context(run):
            try:
                return call(run, args, kwargs)
            except BaseException as error:
                failure = error
                raise
        raise failure  # or a context that suppresses the exception would turn a failed run into a success

    return within

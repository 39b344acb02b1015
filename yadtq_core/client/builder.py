"""Makes a submission of a call: checks it, serialises the arguments, gives it an ID. It writes nothing."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from yadtq_core.client.call import Options, check_headers
from yadtq_core.errors import (
    InvalidArguments,
    InvalidInput,
    InvalidTask,
    PluginError,
    SerializationError,
    SubmitRefused,
    YadtqError,
)
from yadtq_core.model import (
    MAX_ARGUMENT_BYTES,
    MAX_NESTING,
    Message,
    Refuse,
    Submission,
    check_task_name,
    derived_id,
    new_id,
)
from yadtq_core.plugin.loading import Plugins
from yadtq_core.plugin.registry import Registry
from yadtq_core.tasks.task import Task
from yadtq_core.wire import envelope
from yadtq_core.wire.payloads import Payloads

MAX_PLANS = 1000
"""Tasks whose plans are kept: a program that submits names from outside must not fill its memory with them."""
BEFORE_SUBMIT = "yadtq_before_submit"
notifying = threading.local()
"""`now` is true in a thread that calls `yadtq_tasks_submitted`: other callers wait for it, so it must not submit."""
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_PLACE = re.compile(r"^\$\[[01]\]\[([^\]]*)\]")


class Plan(Struct, frozen=True):
    """The part of a message that depends on the task only. `task` is None if this process does not know the task."""

    name: str
    task: Task[..., Any] | None
    signature: str = ""
    version: str = ""


class Builder:
    """Makes submissions of calls. Safe for use by several threads."""

    def __init__(
        self,
        registry: Registry,
        namespace: str,
        plugins: Plugins,
        payloads: Payloads,
        unknown: Callable[[str], object] = lambda name: None,
    ) -> None:
        """unknown: called with each task name that this process does not know, at least once; must not block."""
        self._registry = registry
        self._unknown = unknown
        self._namespace = namespace
        self._hooks = plugins.manager
        self._asks = plugins.manager.implemented(BEFORE_SUBMIT)
        self._dumps = payloads.json.dumps
        self._outgoing = payloads.outgoing_arguments
        self._plans: dict[Task[..., Any] | str, Plan] = {}

    def message(
        self, task: Task[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options
    ) -> Message:
        """Return the message of one call.

        Raises InvalidTask if this is not a task or has no name; InvalidArguments if the task (when it is known here) or
        JSON does not accept the arguments, or if they are too large or nest too deeply; TaskLoadError if the code of
        the task is installed and cannot be imported.
        """
        plan = self._plans.get(task) if isinstance(task, str | Task) else None
        if plan is None:
            plan = self._plan(task)
        if plan.task is not None:
            plan.task.validate(args, kwargs)
        task_id = options.id or self._new_id(plan.name, options.idempotency_key)
        arguments = self._arguments(plan.name, args, kwargs)
        carried, codecs = self._outgoing(arguments, task_id)
        return Message(
            v=envelope.VERSION,
            id=task_id,
            task=plan.name,
            arguments=carried,
            digest=envelope.digest_of(plan.name, arguments),
            queue=options.queue or "default",
            headers=dict(options.headers or ()),  # a copy, because a plugin may add to them
            retries=options.retries,
            codecs=codecs,
            signature=plan.signature,
            version=plan.version,
        )

    def submissions(self, messages: Sequence[Message], delays: Sequence[float]) -> list[Submission | YadtqError]:
        """Return the submission of each message, or the error with which a plugin refused it. delays: seconds.

        The plugins run in the thread of the caller. Raises PluginError within `yadtq_tasks_submitted`.
        """
        if getattr(notifying, "now", False):
            raise PluginError(
                "nothing can be submitted within yadtq_tasks_submitted, because other submits wait: use another thread"
            )
        refused = self._refused(messages) if self._asks else {}
        return [
            refused.get(index) or Submission(message, envelope.encode(message), delay)
            for index, (message, delay) in enumerate(zip(messages, delays, strict=True))
        ]

    def build(
        self, task: Task[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options
    ) -> Submission:
        """Return the submission of one call; raises as `message` does, and SubmitRefused, PluginError."""
        (submission,) = self.submissions([self.message(task, args, kwargs, options)], [options.delay or 0.0])
        if isinstance(submission, YadtqError):
            raise submission
        return submission

    def _refused(self, messages: Sequence[Message]) -> dict[int, YadtqError]:
        """Call the plugins; return {index: error} of the messages that must not be submitted."""
        refused: dict[int, YadtqError] = {}
        try:
            for plugin, answers in self._hooks.call_each(BEFORE_SUBMIT, messages=tuple(messages)):
                for index, answer in enumerate(_verdicts(plugin, answers, len(messages))):
                    if answer is not None:
                        refused.setdefault(index, SubmitRefused(plugin, answer.reason))
            for index, message in enumerate(messages):
                if message.headers and index not in refused:
                    self._check_headers(message)
        except YadtqError as error:
            return dict.fromkeys(range(len(messages)), error)
        return refused

    def _check_headers(self, message: Message) -> None:
        """Check the headers again: those of the caller were valid, so an error now comes from a plugin."""
        try:
            check_headers(message.headers)
        except InvalidInput as error:
            plugins = ", ".join(self._hooks.order(BEFORE_SUBMIT))
            raise InvalidInput(f"{error} (with those that {BEFORE_SUBMIT} added: {plugins})") from None

    def _plan(self, task: Task[..., Any] | str) -> Plan:
        if isinstance(task, Task):
            plan = _known(self._registry.name_of(task), task)
        elif isinstance(task, str):
            name = check_task_name(task)
            plan = _known(name, self._registry.get(name)) if self._registry.known(name) else Plan(name, None)
            if plan.task is None:
                self._unknown(name)
        else:
            raise InvalidTask(f"{task!r:.80} is no task: decorate the function with @task, or give the task's name")
        if len(self._plans) < MAX_PLANS:
            self._plans[task] = plan
        return plan

    def _new_id(self, name: str, key: str | None) -> str:
        return new_id() if key is None else derived_id(self._namespace, name, key)

    def _arguments(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        try:
            data = self._dumps((args, kwargs))
        except SerializationError as error:
            raise InvalidArguments(f"{name}: {_PLACE.sub(_argument, str(error)):.500}") from None
        if len(data) > MAX_ARGUMENT_BYTES:
            raise InvalidArguments(
                f"{name}: arguments of {len(data)} bytes, {MAX_ARGUMENT_BYTES} at most; "
                "put large data where the worker can fetch it, and submit its address"
            )
        # Fewer brackets than the limit cannot nest deeper; so nearly no call needs the slow count.
        if data.count(b"[") + data.count(b"{") > MAX_NESTING and nesting(data) > MAX_NESTING + 1:
            raise InvalidArguments(f"{name}: arguments nest deeper than {MAX_NESTING}")
        return data


def _verdicts(plugin: str, answers: Any, count: int) -> list[Refuse | None]:
    """Return a plugin's answer to each message; raises PluginError unless each answer is a Refuse or None."""
    found = list(answers) if isinstance(answers, list | tuple) else []
    if len(found) == count and all(one is None or isinstance(one, Refuse) for one in found):
        return found
    raise PluginError(
        f"plugin {plugin}: {BEFORE_SUBMIT} gave {answers!r:.80}; it gives None, or a list with a Refuse or None for "
        f"each of the messages (here {count})"
    )


def _known(name: str, task: Task[..., Any]) -> Plan:
    return Plan(name, task, task.signature_text, task.version or "")


def nesting(data: bytes) -> int:
    """Return the depth of nested arrays and objects in a JSON text, without the brackets in strings."""
    depth = deepest = 0
    for byte in _STRINGS.sub(b"", data):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _argument(found: re.Match[str]) -> str:
    """Return the name of an argument: `$[0][1]` is the second positional one, `$[1]['width']` a keyword."""
    return f"argument {found[1]}"

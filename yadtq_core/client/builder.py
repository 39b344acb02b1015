"""How a call becomes a submission: looked at, serialised, given an ID. Nothing is written here."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
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
"""Of names: a program that submits by name knows few, and what it is told by others must not fill its memory."""
BEFORE_SUBMIT = "yadtq_before_submit"
telling = threading.local()
"""`now` is true in a thread that tells plugins of new tasks: other callers may wait for it, so it must not wait."""
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_PLACE = re.compile(r"^\$\[[01]\]\[([^\]]*)\]")


class Plan(Struct, frozen=True):
    """What is known of a task before its first call: its name, and where it is known here itself and what it takes."""

    name: str
    task: Task[..., Any] | None
    signature: str = ""
    version: str = ""


class Builder:
    """Makes submissions of calls. Safe for use by several threads."""

    def __init__(self, registry: Registry, namespace: str, plugins: Plugins, payloads: Payloads) -> None:
        self._registry = registry
        self._namespace = namespace
        self._hooks = plugins.manager
        self._asks = plugins.manager.heard(BEFORE_SUBMIT)
        self._dumps = payloads.json.dumps
        self._outgoing = payloads.outgoing_arguments
        self._plans: dict[Task[..., Any] | str, Plan] = {}

    def message(
        self, task: Task[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options
    ) -> Message:
        """Return the message of one call.

        Raises InvalidTask for what is no task or cannot be named; InvalidArguments for arguments that the task
        would not take (where it is known here), that the serializer cannot carry, or that are too large or nest
        too deeply; TaskLoadError where the task's code is here and cannot be imported.
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
        """Return what is to be written of each message, or why a plugin refused it. delays: seconds.

        Plugins are asked here, in the caller's own thread. Raises PluginError within `yadtq_tasks_submitted`.
        """
        if getattr(telling, "now", False):
            raise PluginError(
                "nothing can be submitted within yadtq_tasks_submitted, as others wait for it: use a thread of your own"
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
        """Ask the plugins; return {index: error} of what must not be submitted."""
        refused: dict[int, YadtqError] = {}
        try:
            for plugin, answers in self._hooks.each(BEFORE_SUBMIT, messages=tuple(messages)):
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
        """Look at headers once more: the caller's own were good, so what is wrong now is of plugins."""
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
        # What holds fewer brackets than the limit cannot nest deeper: nearly every call ends here.
        if data.count(b"[") + data.count(b"{") > MAX_NESTING and nesting(data) > MAX_NESTING + 1:
            raise InvalidArguments(f"{name}: arguments nest deeper than {MAX_NESTING}")
        return data


def _verdicts(plugin: str, answers: Any, count: int) -> list[Refuse | None]:
    """Return what a plugin says of each message; raises PluginError where that is not a Refuse or None for each."""
    told = list(answers) if isinstance(answers, list | tuple) else []
    if len(told) == count and all(one is None or isinstance(one, Refuse) for one in told):
        return told
    raise PluginError(
        f"plugin {plugin}: {BEFORE_SUBMIT} gave {answers!r:.80}; it gives None, or a list with a Refuse or None for "
        f"each of the messages (here {count})"
    )


def _known(name: str, task: Task[..., Any]) -> Plan:
    return Plan(name, task, task.told_signature, task.version or "")


def nesting(data: bytes) -> int:
    """Return how deep arrays and objects nest in a JSON text, brackets within strings not counted."""
    depth = deepest = 0
    for byte in _STRINGS.sub(b"", data):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _argument(found: re.Match[str]) -> str:
    """`$[0][1]` is the second positional argument, `$[1]['width']` a keyword's."""
    return f"argument {found[1]}"

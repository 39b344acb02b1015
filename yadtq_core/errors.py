"""Every error that yadtq raises, in one tree.

    YadtqError                      the root
    ├── InvalidInput            2   the input cannot be used; nothing was written
    │   ├── InvalidArguments        a task's arguments: count, type, range, size
    │   ├── InvalidTask             a task's name or definition
    │   ├── UnknownTask             no task of this name
    │   ├── InvalidId               not a task ID
    │   ├── IdConflict              the ID exists already, with other arguments
    │   ├── SubmitRefused           a plugin refused the submit
    │   └── InvalidSetting          a setting's name or value
    ├── Unavailable             3   a service cannot be reached
    │   ├── BrokerUnavailable
    │   └── BackendUnavailable
    ├── TaskNotFound            4   no record of this ID
    ├── WaitTimeout             5   the wait ended before the task did
    ├── OutcomeUnknown          6   it may still run; query the ID
    ├── ConfigurationRefused    7   the services cannot carry tasks safely with their configuration
    ├── TaskFailed              1   the task failed
    ├── TaskCancelled           1   the task was cancelled
    ├── TaskLoadError           2   a task or module cannot be imported
    ├── PluginError             2   a plugin cannot be loaded, or breaks a rule
    ├── SerializationError          a value cannot be serialized
    ├── EnvelopeError               a message cannot be read
    └── LocalStackError         3   a local Kafka or Valkey cannot be started

The number is the exit code of the `yadtq` command (`exit_code`). The text of an error has one or two lines for a
person: what is wrong, and what to do. Attributes have the data for programs.
"""

from __future__ import annotations


class YadtqError(Exception):
    """The root of the tree; `exit_code` is the exit code of the `yadtq` command."""

    exit_code = 1


class InvalidInput(YadtqError):
    """The input cannot be used; nothing was written."""

    exit_code = 2


class InvalidArguments(InvalidInput):
    """A task's arguments are wrong in count, type, range or size."""


class InvalidTask(InvalidInput):
    """A task's name or definition cannot be used."""


class UnknownTask(InvalidInput):
    """No task of this name is known here."""


class InvalidId(InvalidInput):
    """Not a task ID: IDs are UUIDs in canonical form."""


class IdConflict(InvalidInput):
    """A record of this ID exists already, with another task or other arguments.

    `task_id` is the ID.
    """

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(
            f"task ID {task_id} exists already with another task or other arguments; "
            f"use a new ID, or `yadtq query {task_id}` to see what it is"
        )


class SubmitRefused(InvalidInput):
    """A plugin refused the submit (`yadtq_before_submit`); nothing was written.

    `plugin` is its name, `reason` its text.
    """

    def __init__(self, plugin: str, reason: str) -> None:
        self.plugin = plugin
        self.reason = reason
        super().__init__(f"{reason} (refused by plugin {plugin})")


class InvalidSetting(InvalidInput):
    """A setting's name or value cannot be used."""


class Unavailable(YadtqError):
    """A service cannot be reached."""

    exit_code = 3


class BrokerUnavailable(Unavailable):
    """The broker cannot be reached, or did not answer in time."""


class BackendUnavailable(Unavailable):
    """The backend cannot be reached, or did not answer in time."""


class TaskNotFound(YadtqError):
    """No record of this ID: never submitted, or its result has expired, or the backend has lost it.

    `task_id` is the ID. `reset_at` is the time at which the backend lost records, perhaps including this one (seconds
    since the epoch), and `loss` says it in words. They are None and empty if no loss happened within the result TTL.
    """

    exit_code = 4

    def __init__(self, task_id: str, reset_at: float | None = None, loss: str = "") -> None:
        self.task_id = task_id
        self.reset_at = reset_at
        self.loss = loss
        text = f"no task {task_id} (never submitted here, or its result has expired)"
        if loss:
            text = f"no task {task_id} (never submitted here, or its result has expired, or it {loss})"
        super().__init__(text)


class WaitTimeout(YadtqError, TimeoutError):
    """The wait ended before the task did; the task continues.

    `task_id` is the ID, `status` the status at the end of the wait, empty if the backend did not answer then. `reason`
    says why the task has not ended, such as "no online worker serves queue slow …"; empty if it is not known.
    """

    exit_code = 5

    def __init__(self, task_id: str, seconds: float, status: str, reason: str = "") -> None:
        self.task_id = task_id
        self.status = status
        self.reason = reason
        why = f": {reason}" if reason else ""
        goes_on = f"it goes on: `yadtq query {task_id}`"
        super().__init__(
            f"task {task_id} is still {status} after {seconds:g} s{why}; {goes_on}"
            if status
            else f"task {task_id} has not ended after {seconds:g} s{why}; {goes_on}"
        )


class OutcomeUnknown(YadtqError):
    """The outcome of a submit is unknown: the task may have been accepted and may still run.

    `task_ids` are the IDs of such tasks.
    """

    exit_code = 6

    def __init__(self, task_ids: tuple[str, ...], cause: str) -> None:
        self.task_ids = task_ids
        first = task_ids[0] if task_ids else "-"
        many = f" and {len(task_ids) - 1} more" if len(task_ids) > 1 else ""
        super().__init__(f"outcome unknown for task {first}{many}: {cause}; it may still run: `yadtq query {first}`")


class ConfigurationRefused(YadtqError):
    """The services cannot carry tasks safely with their current configuration."""

    exit_code = 7


class TaskFailed(YadtqError):
    """The task has failed.

    `task_id` is its ID. `type`, `message` and `traceback` are the exception as text, as the worker recorded it: yadtq
    never rebuilds an exception object.
    """

    def __init__(self, task_id: str, type: str, message: str, traceback: str | None = None) -> None:
        self.task_id = task_id
        self.type = type
        self.message = message
        self.traceback = traceback
        super().__init__(f"task {task_id} failed: {type}: {message}" if type else f"task {task_id} failed: {message}")


class TaskCancelled(YadtqError):
    """The task was cancelled.

    `task_id` is its ID, `reason` the reason that the caller of `cancel` gave, None without one.
    """

    def __init__(self, task_id: str, reason: str | None = None) -> None:
        self.task_id = task_id
        self.reason = reason
        super().__init__(f"task {task_id} was cancelled" + (f": {reason}" if reason else ""))


class TaskLoadError(YadtqError):
    """A task, or a module of tasks, cannot be imported."""

    exit_code = 2


class PluginError(YadtqError):
    """A plugin cannot be loaded, or breaks a rule; the text names it, its distribution and the remedy."""

    exit_code = 2


class SerializationError(YadtqError):
    """A value cannot be serialized or read; the text names the place of the value."""


class CodecError(SerializationError):
    """Bytes that a codec wrote cannot be read here: the codec or its key is missing, or the bytes were changed."""


class EnvelopeError(YadtqError):
    """A message that this yadtq cannot read.

    `task_id`: the ID of a message of a newer format version, which other workers can read; None for any other.
    `version`: the format version; None when the message does not show one.
    """

    def __init__(self, text: str, task_id: str | None = None, version: int | None = None) -> None:
        self.task_id = task_id
        self.version = version
        super().__init__(text)


class LocalStackError(YadtqError):
    """A local Kafka or Valkey cannot be started."""

    exit_code = 3

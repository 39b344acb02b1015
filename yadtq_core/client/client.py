"""Client: an application submits, queries and cancels tasks with it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack, cast, overload

from yadtq_core.client.builder import Builder
from yadtq_core.client.bulk import Bulk, raise_first
from yadtq_core.client.call import PLAIN, Call, Options, Using, options
from yadtq_core.client.connection import Opened
from yadtq_core.client.handle import Clock, Handle, check_timeout
from yadtq_core.client.results import not_found
from yadtq_core.client.submitter import Confirm
from yadtq_core.errors import InvalidInput, TaskNotFound, YadtqError
from yadtq_core.local_stack import addresses_found
from yadtq_core.model import CancelCode, Counts, Record, WorkerRow, check_id, check_queue
from yadtq_core.plugin.loading import Plugins, load_plugins
from yadtq_core.plugin.registry import Registry
from yadtq_core.settings import Settings, load
from yadtq_core.tasks.task import Task
from yadtq_core.wire.payloads import Payloads

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("yadtq.plugins")

BATCH = 200
"""IDs of one call to the backend."""


class Submitting:
    """The methods that submit, with the options that `using` has added."""

    def __init__(self, opened: Opened, builder: Builder, chosen: Options) -> None:
        self._opened = opened
        self._builder = builder
        self._options = chosen

    def using(self, **keywords: Unpack[Using]) -> Submitting:
        """Return a view of this client that submits with these options, in addition to those of this view.

        The options are the keys of `Using`. Raises InvalidInput.
        """
        return Submitting(self._opened, self._builder, options(**keywords).over(self._options))

    @overload
    def submit(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    @overload
    def submit(self, task: str, /, *args: Any, **kwargs: Any) -> Handle[Any]: ...
    def submit(self, task: Task[..., Any] | str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Submit one call of a task; return its handle once the broker has acknowledged the message.

        task: the task, or its name. args, kwargs: its arguments, at most 256 KiB when serialized.

        There are three outcomes. It returns: the task was accepted. It raises InvalidInput (InvalidArguments,
        UnknownTask, IdConflict …), Unavailable or ConfigurationRefused: the task was refused and nothing was written.
        It raises OutcomeUnknown: a reply was lost, or the broker did not acknowledge within `submit_timeout`, so the
        task may still run.
        """
        submission = self._builder.build(task, args, kwargs, self._options)
        self._opened.here().group.call(submission)
        return Handle(submission.message.id, self._opened)

    @overload
    async def asubmit(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    @overload
    async def asubmit(self, task: str, /, *args: Any, **kwargs: Any) -> Handle[Any]: ...
    async def asubmit(self, task: Task[..., Any] | str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Do the same as `submit` without blocking the event loop. After a cancellation the task may still run."""
        submission = self._builder.build(task, args, kwargs, self._options)
        await (await self._opened.ahere()).group.acall(submission)
        return Handle(submission.message.id, self._opened)

    @overload
    def submit_many(self, calls: Iterable[Call[R]], *, on_error: Literal["raise"] = "raise") -> list[Handle[R]]: ...
    @overload
    def submit_many(self, calls: Iterable[Call[R]], *, on_error: Literal["return"]) -> list[Handle[R] | YadtqError]: ...
    def submit_many(
        self, calls: Iterable[Call[R]], *, on_error: Literal["raise", "return"] = "raise"
    ) -> list[Handle[R]] | list[Handle[R] | YadtqError]:
        """Submit many calls; return their handles in order.

        calls: `call(task, …)`, of several tasks if wanted, and also from a generator of millions. A refused call does
        not stop the others. After a whole chunk of calls has failed because a service is unavailable, the rest is not
        tried.
        on_error: "return" puts an error in the place of each call that was not accepted, the one that `submit` would
        raise. "raise" raises at the end: OutcomeUnknown with the IDs of all calls whose outcome is unknown, else the
        first refusal; accepted calls stay accepted.
        """
        if on_error not in ("raise", "return"):
            raise InvalidInput(f'on_error is "raise" or "return", got {on_error!r:.80}')
        bulk = Bulk(self._builder, self._opened, self._options, stops=on_error == "raise")
        bulk.run(calls)
        if on_error == "raise":
            raise_first(bulk.results)
        return cast("list[Handle[R]]", bulk.results)


class Client(Submitting):
    """A connection to one installation: a broker, a backend and a namespace in both.

    Threads and coroutines may share a client; their submits then travel in batches. It reopens itself after a fork.
    Close it (or use `with`): closing sends and confirms all accepted calls.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        confirm: Confirm = "broker",
        registry: Registry | None = None,
        plugins: Plugins | None = None,
    ) -> None:
        """Make a client from loaded settings; `connect` is the usual way, and describes `confirm`.

        registry: resolves task names; default: installed tasks and `settings.imports`.
        plugins: the hooks of this client (`load_plugins`); default: all installed plugins. A plugin that cannot be
            loaded is left out, with a warning in the log.
        Raises InvalidInput for another value of `confirm`, InvalidSetting and PluginError for wrong plugin settings.
        """
        if confirm not in ("broker", "record"):
            raise InvalidInput(f'confirm is "broker" or "record", got {confirm!r:.80}')
        registry = registry or Registry(settings.imports)
        plugins = plugins or load_plugins()
        for error in plugins.errors:
            log.warning("%s", error)
        settings = plugins.configure(settings)
        payloads = plugins.payloads(settings)
        opened = Opened(settings, plugins, payloads, confirm)
        builder = Builder(registry, settings.namespace, plugins, payloads, opened.unknown_name)
        super().__init__(opened, builder, PLAIN)

    @classmethod
    def connect(
        cls,
        broker: str | None = None,
        backend: str | None = None,
        *,
        confirm: Confirm = "broker",
        plugins: Sequence[object] = (),
        **settings: Any,
    ) -> Self:
        """Return a client. Other settings come from the environment, a settings file or the defaults.

        broker, backend: addresses, such as kafka://localhost:9092 and redis://localhost:6379/0.
        confirm: "broker": `submit` returns when the broker has acknowledged the message. "record": `submit` returns
            when the record is written, and a thread publishes the message later (`close` waits for that). The task
            then survives the loss of the broker, but not the loss of the last second of a backend that writes to disk
            once a second.
        plugins: objects with hooks, in addition to the installed plugins.
        settings: any other setting, such as namespace="main" or submit_timeout=5 (seconds).

        It connects to the backend at once, and to the broker with the first submit. Raises InvalidSetting,
        BackendUnavailable, ConfigurationRefused.
        """
        loaded = load({"broker": broker, "backend": backend, **settings}, found=addresses_found)
        client = cls(loaded.settings, confirm=confirm, plugins=load_plugins(*plugins))
        client._opened.here()
        return client

    @property
    def payloads(self) -> Payloads:
        """The serializers and codecs of this client."""
        return self._opened.payloads

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._opened.settings

    def handle(self, task_id: str) -> Handle[Any]:
        """Return the handle of a task that this or another program submitted before; raises InvalidId."""
        return Handle(check_id(task_id), self._opened)

    def query(self, ids: Iterable[str]) -> list[Record | None]:
        """Return the records of these IDs in order, None for an unknown ID; raises InvalidId, BackendUnavailable."""
        return [record for batch in _batches(ids) for record in self._opened.here().backend.get(batch)]

    def not_found(self, ids: Iterable[str]) -> list[TaskNotFound]:
        """Return a TaskNotFound, with the possible reason, for each of some IDs without a record.

        ids: those for which `query` returned None. Raises InvalidId, BackendUnavailable.
        """
        return [
            not_found(task_id, reset)
            for batch in _batches(ids)
            for task_id, reset in zip(batch, self._opened.here().backend.resets(batch), strict=True)
        ]

    def cancel(self, ids: Iterable[str], reason: str = "") -> list[CancelCode]:
        """Cancel these tasks; return for each: cancelled, requested (it runs), ended before, or missing.

        reason: stored in the record and shown by `yadtq query`. Raises InvalidId, BackendUnavailable.
        """
        return [code for batch in _batches(ids) for code in self._opened.here().backend.cancel(batch, reason)]

    def wait_all(self, handles: Iterable[Handle[Any]], timeout: float | None = None) -> list[Record | None]:
        """Return the records of these tasks once all have ended, or as they are after `timeout` seconds.

        timeout: 0 to ten years; None: no limit. A task without a record has None. Raises BackendUnavailable.
        """
        ids = [handle.id for handle in handles]
        until = Clock(check_timeout(timeout)).until
        ended = dict(self._opened.here().waiter.wait(list(dict.fromkeys(ids)), until).records)
        late = [task_id for task_id in ids if task_id not in ended]
        ended |= zip(late, self.query(late), strict=True)
        return [ended[task_id] for task_id in ids]

    def counts(self) -> Counts:
        """Return the number of records by queue and status; raises BackendUnavailable."""
        return self._opened.here().backend.counts()

    def workers(self) -> Sequence[WorkerRow]:
        """Return the workers that sent a heartbeat within the last hour; raises BackendUnavailable."""
        return self._opened.here().backend.workers()

    def provision(self, queues: Sequence[str] | None = None) -> None:
        """Create the missing topics of queues; safe to repeat.

        queues: names; default: the queues of the settings. Raises ConfigurationRefused if a topic has too few
        partitions or the user may not create it, BrokerUnavailable.
        """
        names = self.settings.queues if queues is None else [check_queue(queue) for queue in queues]
        self._opened.here().submitter.provision(names)

    def close(self) -> None:
        """Send and confirm all accepted calls, within about `submit_timeout`, and disconnect. May be called twice."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _batches(ids: Iterable[str]) -> Iterable[list[str]]:
    if isinstance(ids, str):
        raise InvalidInput(f"takes several IDs, got one text: write [{ids[:80]!r}]")
    rest = iter(ids)
    while batch := [check_id(task_id) for task_id in islice(rest, BATCH)]:
        yield batch

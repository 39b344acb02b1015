"""Client: what an application holds to submit tasks, ask about them and cancel them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack, cast, overload

from yadtq_core.client.builder import Builder
from yadtq_core.client.bulk import Bulk, raise_first
from yadtq_core.client.call import PLAIN, Call, Options, Using, options
from yadtq_core.client.connection import Opened
from yadtq_core.client.handle import Handle, check_timeout
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
    """The methods that submit, with some options: a client has none, `using` adds to them."""

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
        """Submit one call of a task, given itself or by name; return its handle once the broker has it.

        Three kinds of outcome. Returned: accepted. InvalidInput (with InvalidArguments, UnknownTask, IdConflict…),
        Unavailable or ConfigurationRefused: refused, nothing was written. OutcomeUnknown: a reply was lost, or the
        broker did not acknowledge within the submit timeout: the task may still run.
        """
        submission = self._builder.build(task, args, kwargs, self._options)
        self._opened.here().group.call(submission)
        return Handle(submission.message.id, self._opened)

    @overload
    async def asubmit(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    @overload
    async def asubmit(self, task: str, /, *args: Any, **kwargs: Any) -> Handle[Any]: ...
    async def asubmit(self, task: Task[..., Any] | str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Do as `submit` does, without blocking the event loop; one that is cancelled meanwhile may still run."""
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
        """Submit many calls (`call(task, …)`, also mixed, also from a generator of millions); return their handles.

        A call that is refused does not stop the others. Once the services fail altogether, no more is tried.

        on_error: "return" gives an error in the place of each call that was not accepted, as `submit` would have
        raised it. "raise" raises at the end: OutcomeUnknown with the IDs of all that is not known, else the first
        refusal; what was accepted stays accepted.
        """
        if on_error not in ("raise", "return"):
            raise InvalidInput(f'on_error is "raise" or "return", got {on_error!r:.80}')
        bulk = Bulk(self._builder, self._opened, self._options, stops=on_error == "raise")
        bulk.run(calls)
        if on_error == "raise":
            raise_first(bulk.results)
        return cast("list[Handle[R]]", bulk.results)


class Client(Submitting):
    """A connection to one installation (a broker, a backend and a namespace in them).

    May be shared by threads and coroutines, whose submits then travel together, and reopens itself after a fork.
    Close it (`with` does): what it has accepted is sent and confirmed then.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        confirm: Confirm = "broker",
        registry: Registry | None = None,
        plugins: Plugins | None = None,
    ) -> None:
        """Make a client of settings already loaded; `connect` is the usual way, and says what `confirm` is.

        registry: what tells tasks from names; default: installed plugins and `settings.imports`.
        plugins: their hooks are part of this client (`load_plugins`); default: what is installed. One that cannot
            be loaded is left out, and logged.
        """
        if confirm not in ("broker", "record"):
            raise InvalidInput(f'confirm is "broker" or "record", got {confirm!r:.80}')
        registry = registry or Registry(settings.imports)
        plugins = plugins or load_plugins()
        for error in plugins.errors:
            log.warning("%s", error)
        settings = plugins.configure(settings)
        payloads = plugins.payloads(settings)
        super().__init__(
            Opened(settings, plugins, payloads, confirm),
            Builder(registry, settings.namespace, plugins, payloads),
            PLAIN,
        )

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
        """Return a client; what is not given comes from the environment, a settings file or the defaults.

        broker, backend: addresses, such as kafka://localhost:9092 and redis://localhost:6379/0.
        confirm: "broker": a submit returns when the broker has acknowledged it. "record": it returns when its
            record stands, and is published behind the caller (`close` waits for that); it survives the loss of the
            broker, but not of the last second of a backend that writes to disk once a second.
        plugins: objects with hooks, beside what is installed.
        settings: any other setting, such as namespace="main" or submit_timeout=5.

        The backend is reached at once, the broker by the first submit. Raises InvalidSetting, BackendUnavailable,
        ConfigurationRefused.
        """
        loaded = load({"broker": broker, "backend": backend, **settings}, found=addresses_found)
        client = cls(loaded.settings, confirm=confirm, plugins=load_plugins(*plugins))
        client._opened.here()
        return client

    @property
    def payloads(self) -> Payloads:
        """How this client reads results and writes arguments."""
        return self._opened.payloads

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._opened.settings

    def handle(self, task_id: str) -> Handle[Any]:
        """Return a handle of a task submitted before, perhaps by another program; raises InvalidId."""
        return Handle(check_id(task_id), self._opened)

    def query(self, ids: Iterable[str]) -> list[Record | None]:
        """Return the records of these IDs in order, None where there is none; raises InvalidId, BackendUnavailable."""
        return [record for batch in _batches(ids) for record in self._opened.here().backend.get(batch)]

    def not_found(self, ids: Iterable[str]) -> list[TaskNotFound]:
        """Return, for IDs of which `query` found no record, the errors that say why that may be.

        Raises InvalidId, BackendUnavailable.
        """
        return [
            not_found(task_id, reset)
            for batch in _batches(ids)
            for task_id, reset in zip(batch, self._opened.here().backend.resets(batch), strict=True)
        ]

    def cancel(self, ids: Iterable[str], reason: str = "") -> list[CancelCode]:
        """Cancel these tasks; return for each whether it was ended, is running and was asked to stop, had ended
        before, or does not exist. Raises InvalidId, BackendUnavailable.
        """
        return [code for batch in _batches(ids) for code in self._opened.here().backend.cancel(batch, reason)]

    def wait_all(self, handles: Iterable[Handle[Any]], timeout: float | None = None) -> list[Record | None]:
        """Return the records of these tasks once all have ended, or as they are after `timeout` seconds.

        None where there is no record. Raises BackendUnavailable.
        """
        ids = [handle.id for handle in handles]
        ended = dict(self._opened.here().waiter.wait(list(dict.fromkeys(ids)), check_timeout(timeout)))
        late = [task_id for task_id in ids if task_id not in ended]
        ended |= zip(late, self.query(late), strict=True)
        return [ended[task_id] for task_id in ids]

    def counts(self) -> Counts:
        """Return how many records there are by status; raises BackendUnavailable."""
        return self._opened.here().backend.counts()

    def workers(self) -> Sequence[WorkerRow]:
        """Return the workers seen within the last hour; raises BackendUnavailable."""
        return self._opened.here().backend.workers()

    def provision(self, queues: Sequence[str] | None = None) -> None:
        """Create what these queues need and is missing (default: those of the settings); safe to repeat.

        Raises ConfigurationRefused, where it stands with too few partitions or may not be made, BrokerUnavailable.
        """
        names = self.settings.queues if queues is None else [check_queue(queue) for queue in queues]
        self._opened.here().submitter.provision(names)

    def close(self) -> None:
        """Send and confirm what was accepted, within about the submit timeout, and let go. Closing twice is fine."""
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

"""Runs one job: reads the message, decodes the arguments, calls the bound task, encodes the result.

A task is bound once in each child (`pipeline`), when the child starts. No exception of a task leaves this module: every
run ends as a `Done`. A job that this process cannot begin is `Unable`: the record must not fail by a fault of a worker.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from yadtq_core.child.pipe import Done, Job, Unable
from yadtq_core.child.pipeline import Pipeline, Prepared
from yadtq_core.errors import CodecError, InvalidArguments, SerializationError, TaskLoadError, YadtqError
from yadtq_core.installed import reason
from yadtq_core.model import MAX_RESULT_BYTES, Error, Message, Status
from yadtq_core.plugin.loading import Plugins
from yadtq_core.tasks.retry import Retry, RetryPolicy
from yadtq_core.tasks.run import Cancelled, Run, enter, leave
from yadtq_core.tasks.task import Task
from yadtq_core.wire.envelope import read
from yadtq_core.wire.payloads import Payloads, dumped

_OURS = "yadtq_core.child."
MAX_TEXT = 8 * 1024
"""Characters that are kept of the message of an error, and of its traceback."""


class Unstorable(Exception):
    """A result that the record cannot keep; the text becomes the error of the record."""


class Runner:
    """Runs jobs in this process. Safe for use by several threads.

    find: returns the task of a name; raises YadtqError for one that cannot be loaded. plugins: configured.
    report_progress: called with the number of the job and the text.
    """

    def __init__(
        self,
        find: Callable[[str], Task[..., Any]],
        plugins: Plugins,
        payloads: Payloads,
        worker_id: str,
        report_progress: Callable[[int, str], None],
    ) -> None:
        self._find = find
        self._payloads = payloads
        self._worker_id = worker_id
        self._report = report_progress
        self._prepared: dict[str, Prepared] = {}
        self._bind = Pipeline(plugins, payloads, _Loop().run).bind
        self.cancelled: set[int] = set()
        """Numbers of the running jobs that a client has asked to cancel."""
        self.stopped_since: Callable[[float], bool] = lambda _: False
        """True if this process has received a stop signal since this time (`StopSignals`)."""

    def bind(self, names: Iterable[str]) -> dict[str, str]:
        """Bind tasks to their hooks; return the reason for each that cannot be bound, whose jobs are `Unable`."""
        unbound = {}
        for name in names:
            try:
                self._prepared[name] = self._bind(self._find(name).named(name))
            except Exception as error:
                unbound[name] = reason(error)
        return unbound

    def run(self, job: Job) -> Done | Unable:
        """Run one job to its end."""
        begun = time.perf_counter()
        try:
            message = read(job.body)
            prepared = self._bound(message.task)
            arguments = self._decoded(message)
        except BaseException as error:
            return Unable(job.seq, reason(error))
        run = self._context(job, message)
        token = enter(run)
        try:
            value = prepared.call(run, *_args_and_kwargs(arguments))
            result, content_type = self._store(message.id, prepared, value)
        except BaseException as error:  # a task's SystemExit or KeyboardInterrupt must not end the child
            return self._ended_by(job, message, error, begun, prepared)
        finally:
            leave(token)
            self.cancelled.discard(job.seq)
        return Done(job.seq, "success", result, content_type, None, None, time.perf_counter() - begun)

    def _bound(self, name: str) -> Prepared:
        try:
            return self._prepared[name]
        except KeyError:
            raise TaskLoadError(f"task {name!r} is not loaded in this child") from None

    def _decoded(self, message: Message) -> Any:
        """Return the arguments, or InvalidArguments if they are malformed for every worker; raises CodecError."""
        try:
            return self._payloads.arguments(bytes(message.arguments), message.codecs, message.id)
        except CodecError as error:
            raise CodecError(f"arguments are {error}") from error.__cause__
        except SerializationError as error:
            return InvalidArguments(f"arguments are {error}")

    def _context(self, job: Job, message: Message) -> Run:
        seq, report, cancelled = job.seq, self._report, self.cancelled
        return Run(
            message,
            attempt=job.attempt,
            fence=job.fence,
            worker_id=self._worker_id,
            report=lambda fraction, text: report(seq, f"{fraction:.4g} {text}".rstrip()),
            cancelled=lambda: seq in cancelled,
        )

    def _store(self, task_id: str, prepared: Prepared, value: Any) -> tuple[bytes, str]:
        """Return a result as the record keeps it, and its content type; raises Unstorable."""
        serializer = prepared.serializer
        try:
            data = dumped(serializer, value)
        except SerializationError as error:
            raise Unstorable(str(error)) from None
        if len(data) > MAX_RESULT_BYTES:
            raise Unstorable(
                f"result is {len(data)} bytes, the limit is {MAX_RESULT_BYTES}; "
                "store it elsewhere and return its address"
            )
        try:
            return self._payloads.outgoing_result(data, serializer.content_type, task_id)
        except SerializationError as error:
            raise Unstorable(f"result not encoded by {error}") from None

    def _ended_by(self, job: Job, message: Message, error: BaseException, begun: float, prepared: Prepared) -> Done:
        policy = prepared.retry
        if isinstance(error, Cancelled):
            return Done(job.seq, Status.CANCELLED.value, None, "", None, None, time.perf_counter() - begun)
        if isinstance(error, InvalidArguments):
            error = InvalidArguments(f"{error}{prepared.signature_hint(message.signature, message.version)}")
        if isinstance(error, InvalidArguments | Unstorable):
            return self._failed(job, error, begun, None)
        if message.retries is not None:
            policy = RetryPolicy(message.retries, policy.base, policy.most)
        asked = error.delay if isinstance(error, Retry) else None
        # A run that was lost with its worker is not a failure of the task.
        done = self._failed(job, error, begun, policy.next(job.attempt - job.lost, asked))
        interrupted = not isinstance(error, Retry) and self.stopped_since(begun)
        return replace(done, interrupted=True) if interrupted else done

    def _failed(self, job: Job, error: BaseException, begun: float, retry_in: float | None) -> Done:
        status = Status.FAILED if retry_in is None else Status.SCHEDULED
        return Done(job.seq, status.value, None, "", describe(error), retry_in, time.perf_counter() - begun)


def describe(error: BaseException) -> Error:
    """Return type, message and traceback of an exception, each cut to 8 KiB.

    The `__str__` of an exception is foreign code: it may raise, or return megabytes.
    """
    try:
        message = _clean(str(error))
    except BaseException as broken:
        message = f"<its message cannot be shown: {type(broken).__name__}>"
    if isinstance(error, SystemExit):
        message = f"the task called sys.exit({message})"
    if isinstance(error, YadtqError | Unstorable):
        return Error(type(error).__name__, message)
    return Error(_clean(type(error).__name__), message, _traceback(error))


def _traceback(error: BaseException) -> str | None:
    """Return the traceback without the frames of this package, which come before those of the task."""
    own = error.__traceback__
    while own is not None and str(own.tb_frame.f_globals.get("__name__")).startswith(_OURS):
        own = own.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, own, limit=-20))
    except BaseException:
        return None
    return _clean(text[-MAX_TEXT:])


def _clean(text: str) -> str:
    """Return text that UTF-8 can encode, cut to MAX_TEXT."""
    text = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " … (cut)"
    return text.encode("utf-8", "replace").decode()


def _args_and_kwargs(arguments: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments; raises InvalidArguments if they are malformed."""
    match arguments:
        case [list() as args, dict() as kwargs]:
            return args, kwargs
        case InvalidArguments():
            raise arguments
    raise InvalidArguments("arguments are not a list of positional ones and an object of keywords")


class _Loop:
    """The event loop of a child, in its own thread, which starts with the first async task.

    A SystemExit or KeyboardInterrupt that reached the loop would end it, and every waiting slot would wait for ever.
    So `_ended` returns it as a value; one from a task that a coroutine started does reach the loop, which then goes on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine on the loop; return its result or raise its exception."""
        result, error = asyncio.run_coroutine_threadsafe(_ended(coroutine), self._started()).result()
        if error is not None:
            raise error
        return result

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run_for_ever, args=(self._loop,), name="yadtq-loop", daemon=True).start()
            return self._loop


async def _ended(coroutine: Any) -> tuple[Any, BaseException | None]:
    try:
        return await coroutine, None
    except BaseException as error:
        return None, error


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    while not loop.is_closed():
        try:
            loop.run_forever()
        except BaseException:
            pass  # the coroutine that started the task sees it

"""The scope of a run: adds the task to its events, and sends the exception that ends it."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.utils import event_from_exception

from yadtq_core import Cancelled, InvalidArguments, Retry, Run
from yadtq_sentry.config import SentrySettings

if TYPE_CHECKING:
    from sentry_sdk.scope import Scope
    from sentry_sdk.types import Event, Hint

NO_FAILURES: dict[str, type[BaseException]] = {
    "Retry": Retry,
    "Cancelled": Cancelled,
    "InvalidArguments": InvalidArguments,
}

log = logging.getLogger("yadtq.sentry")


def passed_over(settings: SentrySettings) -> tuple[type[BaseException], ...]:
    """Return the types of exceptions that are not sent."""
    return tuple(kind for name, kind in NO_FAILURES.items() if name not in settings.report)


class RunScope:
    """The context of one run. An error in the SDK is logged, and does not affect the task.

    passed_over: exceptions that are not sent. arguments: send the frames' local variables.
    """

    __slots__ = ("_arguments", "_passed_over", "_run", "_scope")

    def __init__(self, passed_over: tuple[type[BaseException], ...], arguments: bool, run: Run) -> None:
        self._passed_over = passed_over
        self._arguments = arguments
        self._run = run
        self._scope: AbstractContextManager[Scope] | None = None

    def __enter__(self) -> None:
        try:
            self._scope = sentry_sdk.isolation_scope()
            scope = self._scope.__enter__()
            _describe(scope, self._run)
            if not self._arguments:
                scope.add_event_processor(_without_variables)
        except Exception:
            log.exception("Sentry gets no events of this run of %s", self._run.task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and not isinstance(error, self._passed_over):
                _send(error)
        except Exception:
            log.exception("a failure of %s was not sent to Sentry", self._run.task)
        finally:
            if self._scope is not None:
                self._scope.__exit__(None, None, None)


def _describe(scope: Scope, run: Run) -> None:
    scope.set_transaction_name(run.task, source="task")
    scope.set_new_propagation_context()  # otherwise all runs of a child are one trace
    scope.set_tags(
        {
            "yadtq.task": run.task,
            "yadtq.queue": run.queue,
            "yadtq.worker": run.worker_id,
            "yadtq.attempt": str(run.attempt),
        }
    )
    scope.set_context("yadtq", {"id": run.id, "attempt": run.attempt, "fence": run.fence})


def _send(error: BaseException) -> None:
    options: dict[str, Any] = sentry_sdk.get_client().options
    event, hint = event_from_exception(error, client_options=options, mechanism={"type": "yadtq", "handled": False})
    sentry_sdk.capture_event(event, hint=hint)


def _without_variables(event: Event, _: Hint) -> Event:
    """Remove the local variables from an event's frames: they include the task's arguments."""
    for kind in ("exception", "threads"):
        values = (event.get(kind) or {}).get("values") or ()  # type: ignore[attr-defined]
        for value in values:
            for frame in ((value or {}).get("stacktrace") or {}).get("frames") or ():
                frame.pop("vars", None)
    return event

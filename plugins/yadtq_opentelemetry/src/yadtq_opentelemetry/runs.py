"""The spans of a run: the wait of its message, and the run itself, which is current while the task runs."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from yadtq_core import Cancelled, Run
from yadtq_opentelemetry import carrier

log = logging.getLogger("yadtq.opentelemetry")


class RunSpan:
    """The context of one run. An error in OpenTelemetry is logged, and does not affect the task."""

    __slots__ = ("_run", "_span", "_token", "_tracer")

    def __init__(self, tracer: Tracer, run: Run) -> None:
        self._tracer = tracer
        self._run = run
        self._span: Span | None = None
        self._token: object = None

    def __enter__(self) -> None:
        try:
            parent = carrier.context_of(self._run.headers)
            now = time.time_ns()
            waited = _waited(self._tracer, self._run, parent, now)
            self._span = _begun(self._tracer, self._run, parent, now, waited)
            self._token = contexts.attach(trace.set_span_in_context(self._span, parent))
        except Exception:
            log.exception("no span of this run of %s", self._run.task)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if self._token is not None:
                contexts.detach(self._token)  # type: ignore[arg-type]  # the value from `attach`
            if self._span is not None:
                _end(self._span, error)
        except Exception:
            log.exception("the span of this run of %s is lost", self._run.task)


def attributes_of(run: Run, operation: str) -> dict[str, AttributeValue]:
    """Return the attributes that both spans of a run share."""
    return {
        "messaging.system": "yadtq",
        "messaging.operation.name": operation,
        "messaging.destination.name": run.queue,
        "messaging.message.id": run.id,
        "messaging.client.id": run.worker_id,
        "yadtq.task": run.task,
        "yadtq.attempt": run.attempt,
    }


def _waited(tracer: Tracer, run: Run, parent: Context, now: int) -> float | None:
    """Make the span of the wait for the first run; return its seconds, None if they are unknown."""
    created = carrier.created_at(run.headers) if run.attempt == 1 else None
    if created is None:
        return None
    if carrier.creator_of(parent).is_valid:
        attributes = attributes_of(run, "wait")
        tracer.start_span(f"wait {run.task}", context=parent, attributes=attributes, start_time=created).end(now)
    return (now - created) / 1e9


def _begun(tracer: Tracer, run: Run, parent: Context, now: int, waited: float | None) -> Span:
    attributes = {**attributes_of(run, "run"), "messaging.operation.type": "process"}
    if waited is not None:
        attributes["yadtq.wait_seconds"] = waited
    creator = carrier.creator_of(parent)
    return tracer.start_span(
        f"run {run.task}",
        context=parent,
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        links=[Link(creator)] if creator.is_valid else [],
        start_time=now,
    )


def _end(span: Span, error: BaseException | None) -> None:
    try:
        if error is None:
            span.set_attribute("yadtq.status", "success")
        elif isinstance(error, Cancelled):
            span.set_attribute("yadtq.status", "cancelled")
        else:
            span.set_attribute("yadtq.status", "failed")
            span.set_attribute("error.type", f"{type(error).__module__}.{type(error).__qualname__}")
            span.set_status(StatusCode.ERROR, type(error).__name__)
            span.record_exception(error)  # last: str() of the exception is foreign code, and may raise
    finally:
        span.end()

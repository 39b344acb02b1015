"""The spans of a submit, by the semantic conventions of messaging: `create` for each message, `send` for all.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ (status: development).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Tracer
from opentelemetry.util.types import AttributeValue

from yadtq_core.interfaces import Message
from yadtq_opentelemetry import carrier


def attributes_of(operation: str, kind: str, messages: Sequence[Message]) -> dict[str, AttributeValue]:
    """Return the attributes of a span for these messages: their common values, and their number."""
    attributes: dict[str, AttributeValue] = {
        "messaging.system": "yadtq",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
    }
    if len(messages) == 1:
        attributes["messaging.message.id"] = messages[0].id
    else:
        attributes["messaging.batch.message_count"] = len(messages)
    for name, values in (
        ("messaging.destination.name", {message.queue for message in messages}),
        ("yadtq.task", {message.task for message in messages}),
    ):
        if len(values) == 1:
            attributes[name] = values.pop()
    return attributes


def created(tracer: Tracer, messages: Sequence[Message], *, one_each: bool) -> None:
    """Make the spans of new messages, under the current one, and put their contexts into the headers.

    A message that already has a context keeps it.
    """
    now = time.time_ns()
    new = []
    for message in messages:
        if carrier.has_context(message.headers):
            carrier.put(None, message.headers, now)
        else:
            new.append(message)
    for group in [[message] for message in new] if one_each else [new] if new else []:
        span = _creation(tracer, group, now)
        for message in group:
            carrier.put(trace.set_span_in_context(span), message.headers, now)
        span.end()


def _creation(tracer: Tracer, messages: Sequence[Message], now: int) -> Span:
    operation = "create" if len(messages) == 1 else "send"  # a "create" span is for a single message
    attributes = attributes_of(operation, operation, messages)
    return tracer.start_span(
        _name(operation, attributes), kind=SpanKind.PRODUCER, attributes=attributes, start_time=now
    )


def sent(tracer: Tracer, messages: Sequence[Message]) -> None:
    """Make the span of an accepted batch: from the creation of its first message until now.

    It is part of the first message's trace, and linked to the traces of all messages.
    """
    traced = [(message, carrier.context_of(message.headers)) for message in messages]
    traced = [(message, context) for message, context in traced if carrier.creator_of(context).is_valid]
    if not traced:
        return
    attributes = attributes_of("send", "send", [message for message, _ in traced])
    begun = [at for message, _ in traced if (at := carrier.created_at(message.headers)) is not None]
    span = tracer.start_span(
        _name("send", attributes),
        context=traced[0][1],
        kind=SpanKind.CLIENT,
        attributes=attributes,
        links=[Link(carrier.creator_of(context)) for _, context in traced],
        start_time=min(begun, default=None),
    )
    span.end()


def _name(operation: str, attributes: dict[str, AttributeValue]) -> str:
    """Return `operation task`; for several tasks `operation queue`, for several queues the operation alone."""
    about = attributes.get("yadtq.task") or attributes.get("messaging.destination.name")
    return f"{operation} {about}" if about else operation

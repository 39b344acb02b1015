"""What travels in a message's headers: the context that its span stands for, and when it was made."""

from __future__ import annotations

import time
from collections.abc import Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context

CREATED = "yadtq-created"
"""When the message was made, in nanoseconds since the epoch by the submitter's clock."""
MAX_HEADER_BYTES = 8 * 1024
"""Of all headers of a message: yadtq refuses a submit with more, which no trace is worth."""


def has_context(headers: Mapping[str, str]) -> bool:
    """Return whether whoever submits has put a context into the headers: that one is left as it is."""
    return not propagate.get_global_textmap().fields.isdisjoint(headers)


def put(context: Context | None, headers: dict[str, str], created_ns: int) -> None:
    """Add a context (None: none) and the time to headers; what there is no room for is left out, the largest first."""
    carried: dict[str, str] = {}
    if context is not None:
        propagate.inject(carried, context)
    carried[CREATED] = str(created_ns)
    room = MAX_HEADER_BYTES - sum(map(_size, headers.items()))
    for item in sorted(carried.items(), key=_size):
        room -= _size(item)
        if room < 0:
            return
        headers[item[0]] = item[1]


def context_of(headers: Mapping[str, str]) -> Context:
    """Return the context that a message carries, an empty one where it carries none."""
    return propagate.extract(headers, Context())


def creator_of(context: Context) -> trace.SpanContext:
    """Return the span that a message's context stands for; not valid where there is none."""
    return trace.get_current_span(context).get_span_context()


def created_at(headers: Mapping[str, str]) -> int | None:
    """Return when a message was made (ns since the epoch), None where that is not told or lies in the future."""
    text = headers.get(CREATED, "")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    created = int(text)
    return created if created <= time.time_ns() else None


def _size(item: tuple[str, str]) -> int:
    return len(item[0].encode()) + len(item[1].encode())

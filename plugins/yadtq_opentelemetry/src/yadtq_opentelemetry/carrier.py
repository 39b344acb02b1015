"""The headers of a message: the context of its span, and the time of its creation."""

from __future__ import annotations

import time
from collections.abc import Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context

CREATED = "yadtq-created"
"""The creation time of the message, in nanoseconds since the epoch by the submitter's clock."""
MAX_HEADER_BYTES = 8 * 1024
"""The limit for all headers of a message: yadtq refuses a submit with more."""


def has_context(headers: Mapping[str, str]) -> bool:
    """True when the submitter has put a context into the headers; it is then kept."""
    return not propagate.get_global_textmap().fields.isdisjoint(headers)


def put(context: Context | None, headers: dict[str, str], created_ns: int) -> None:
    """Add a context (unless None) and the time to headers. Without room for all, leave out the largest first."""
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
    """Return the context of a message, an empty one if it has none."""
    return propagate.extract(headers, Context())


def creator_of(context: Context) -> trace.SpanContext:
    """Return the span of a message's context, an invalid one if there is none."""
    return trace.get_current_span(context).get_span_context()


def created_at(headers: Mapping[str, str]) -> int | None:
    """Return the creation time of a message (ns since the epoch); None if it is missing or in the future."""
    text = headers.get(CREATED, "")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    created = int(text)
    return created if created <= time.time_ns() else None


def _size(item: tuple[str, str]) -> int:
    return len(item[0].encode()) + len(item[1].encode())

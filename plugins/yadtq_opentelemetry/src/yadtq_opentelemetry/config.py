"""The settings section `[opentelemetry]`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class OpenTelemetrySettings(Struct, frozen=True, kw_only=True):
    """How spans are made. Without a tracer provider no spans are made, with any settings."""

    setup: Annotated[str, Meta(pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?\Z")] = ""
    """`module:function`, called without arguments in each child before its first task: it sets the tracer provider."""
    create_spans: bool = True
    """A span for each message of a batch; false: one span for the batch, the parent of all its tasks."""

"""The settings section `[opentelemetry]`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class OpenTelemetrySettings(Struct, frozen=True, kw_only=True):
    """How spans are made. Where no tracer provider is set there are none, whatever stands here."""

    setup: Annotated[str, Meta(pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?\Z")] = ""
    """`module:function`, called without arguments in each child before its first task: it sets the tracer provider."""
    create_spans: bool = True
    """A span for each message of a batch; false: one span for the batch, of which all its tasks are part."""

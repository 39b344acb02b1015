"""The hooks: spans if a tracer provider is set, otherwise nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from yadtq_core.plugin import Message, Run, Settings, Task, hookimpl
from yadtq_opentelemetry.config import OpenTelemetrySettings
from yadtq_opentelemetry.provider import flush, provider, set_up

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

VERSION = "0.1.0"

log = logging.getLogger("yadtq.opentelemetry")


class OpenTelemetryPlugin:
    """The tracing of one client or child."""

    def __init__(self) -> None:
        self._settings = OpenTelemetrySettings()
        self._tracer: Tracer | None = None
        self._complained = False

    @hookimpl
    def yadtq_settings(self) -> Mapping[str, type]:
        """Offer `[opentelemetry]`."""
        return {"opentelemetry": OpenTelemetrySettings}

    @hookimpl
    def yadtq_configure(self, settings: Settings) -> None:
        """Keep the settings."""
        self._settings = settings.section(OpenTelemetrySettings)

    @hookimpl
    def yadtq_before_submit(self, messages: Sequence[Message]) -> None:
        """Give each message the context of a span. An error here does not stop the submit."""
        tracer = self._traced()
        if tracer is None:
            return
        from yadtq_opentelemetry.submits import created  # noqa: PLC0415  (only if opentelemetry is in use)

        try:
            created(tracer, messages, one_each=self._settings.create_spans)
        except Exception:
            if not self._complained:  # once, because every submit would log the same
                self._complained = True
                log.exception("submits are not traced")

    @hookimpl
    def yadtq_tasks_submitted(self, messages: Sequence[Message]) -> None:
        """Make the span of the send."""
        tracer = self._traced() if self._settings.create_spans else None
        if tracer is not None:
            from yadtq_opentelemetry.submits import sent  # noqa: PLC0415

            sent(tracer, messages)

    @hookimpl
    def yadtq_task_context(self, task: Task[..., Any]) -> Callable[[Run], AbstractContextManager[None]] | None:
        """Return the span of a run, None in a child without a provider."""
        tracer = self._traced()
        if tracer is None:
            return None
        from yadtq_opentelemetry.runs import RunSpan  # noqa: PLC0415

        return partial(RunSpan, tracer)

    @hookimpl
    def yadtq_child_started(self) -> None:
        """Let the application set the provider of this process."""
        if self._settings.setup:
            set_up(self._settings.setup)

    @hookimpl
    def yadtq_child_stopping(self) -> None:
        """Export the last spans."""
        flush()

    def _traced(self) -> Tracer | None:
        if self._tracer is None and (found := provider()) is not None:
            self._tracer = found.get_tracer("yadtq_opentelemetry", VERSION)
        return self._tracer

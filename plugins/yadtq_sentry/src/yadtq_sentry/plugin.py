"""The hooks: a Sentry client in each child if there is a DSN, otherwise nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from yadtq_core.plugin import Run, Settings, Task, hookimpl
from yadtq_sentry.client import FLUSH_SECONDS, active, open_client
from yadtq_sentry.config import SentrySettings

if TYPE_CHECKING:
    from sentry_sdk.client import BaseClient


class SentryPlugin:
    """The reports of one child. In a client the plugin does nothing; the application has its own Sentry client."""

    def __init__(self) -> None:
        self._settings = SentrySettings()
        self._own: BaseClient | None = None

    @hookimpl
    def yadtq_settings(self) -> Mapping[str, type]:
        """Offer `[sentry]`."""
        return {"sentry": SentrySettings}

    @hookimpl
    def yadtq_configure(self, settings: Settings) -> None:
        """Keep the settings."""
        self._settings = settings.section(SentrySettings)

    @hookimpl
    def yadtq_child_started(self) -> None:
        """Make a client, unless a module of tasks has made one."""
        self._own = open_client(self._settings)

    @hookimpl
    def yadtq_task_context(self, task: Task[..., Any]) -> Callable[[Run], AbstractContextManager[None]] | None:
        """Return the scope of a run, None in a child without a client."""
        if active() is None:
            return None
        from yadtq_sentry.runs import RunScope, passed_over  # noqa: PLC0415  (it imports sentry_sdk)

        return partial(RunScope, passed_over(self._settings), self._settings.arguments)

    @hookimpl
    def yadtq_child_stopping(self) -> None:
        """Send the remaining events."""
        if self._own is not None:
            self._own.close(timeout=FLUSH_SECONDS)  # so the SDK's handler at exit has nothing to wait for
        elif (client := active()) is not None:
            client.flush(timeout=FLUSH_SECONDS)

"""The settings section `[sentry]`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Unreported = Literal["Retry", "Cancelled", "InvalidArguments"]


class SentrySettings(Struct, frozen=True, kw_only=True):
    """Where failures are sent, and which. Without a DSN, here, in SENTRY_DSN or by the application, nothing is."""

    dsn: str = ""
    """The project's DSN; else that of SENTRY_DSN."""
    environment: str = ""
    """The environment that events are told to come from; else SENTRY_ENVIRONMENT, else `production`."""
    release: str = ""
    """The release that events are told to come from; else SENTRY_RELEASE, else what the SDK finds out."""
    sample_rate: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """The share of failures that is sent, from 0 to 1."""
    arguments: bool = False
    """Send the local variables of the traceback's frames, and with them the task's arguments."""
    report: tuple[Unreported, ...] = ()
    """Which of `Retry`, `Cancelled` and `InvalidArguments` are sent too: by themselves they are no failures."""

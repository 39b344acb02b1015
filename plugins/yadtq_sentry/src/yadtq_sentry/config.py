"""The settings section `[sentry]`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Unreported = Literal["Retry", "Cancelled", "InvalidArguments"]


class SentrySettings(Struct, frozen=True, kw_only=True):
    """The project and the failures that are sent; none without a DSN here, in SENTRY_DSN or from the application."""

    dsn: str = ""
    """The project's DSN; else that of SENTRY_DSN."""
    environment: str = ""
    """The environment of the events; else SENTRY_ENVIRONMENT, else `production`."""
    release: str = ""
    """The release of the events; else SENTRY_RELEASE, else the SDK's guess."""
    sample_rate: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """The share of failures that is sent, from 0 to 1."""
    arguments: bool = False
    """Send the local variables of the traceback's frames, and with them the task's arguments."""
    report: tuple[Unreported, ...] = ()
    """Send these too: `Retry`, `Cancelled`, `InvalidArguments`; by default they do not count as failures."""

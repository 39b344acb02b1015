"""The process's Sentry client: find it, make it in a child.

The import of sentry_sdk takes 180 ms, so it is imported only if there is a DSN, or by the application itself.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from yadtq_core import InvalidSetting
from yadtq_sentry.config import SentrySettings

if TYPE_CHECKING:
    from sentry_sdk.client import BaseClient

FLUSH_SECONDS = 1.5
"""A worker that ends gives its children 2 s to end."""


def active() -> BaseClient | None:
    """Return the active client, None if there is none."""
    sdk = sys.modules.get("sentry_sdk")
    if sdk is None:
        return None
    client: BaseClient = sdk.get_client()
    return client if client.is_active() and client.transport is not None else None


def open_client(settings: SentrySettings) -> BaseClient | None:
    """Make the client of this process, if there is a DSN and the application has not made one; return the new client.

    Raises InvalidSetting for an invalid DSN.
    """
    dsn = settings.dsn or os.environ.get("SENTRY_DSN", "")
    if not dsn or active() is not None:
        return None
    import sentry_sdk  # noqa: PLC0415  (see above)
    from sentry_sdk.utils import BadDsn  # noqa: PLC0415

    try:
        sentry_sdk.init(
            dsn=dsn,
            environment=settings.environment or None,
            release=settings.release or None,
            sample_rate=settings.sample_rate,
            include_local_variables=settings.arguments,
            in_app_exclude=["yadtq_core"],
            auto_enabling_integrations=False,  # each would import its framework, in every child
        )
    except BadDsn as error:
        raise InvalidSetting(f"sentry.dsn (or SENTRY_DSN) is no DSN: {error}; no failure is sent") from None
    return active()

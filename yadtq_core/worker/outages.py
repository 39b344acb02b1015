"""The outages of the broker and the backend in the log: one line when one begins, one when it is over."""

from __future__ import annotations

import logging
import time

from yadtq_core.errors import Unavailable

log = logging.getLogger("yadtq.worker")


class Outages:
    """Logs the first failure of a service and its first answer after that; repeated failures are not logged."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def backend_failed(self, error: Exception) -> None:
        """Note that the backend did not answer, or refused a call."""
        self._failed("backend", error)

    def broker_failed(self, error: Exception) -> None:
        """Note that the broker did not answer, or refused a call."""
        self._failed("broker", error)

    def _failed(self, service: str, error: Exception) -> None:
        if service not in self._since:
            self._since[service] = time.monotonic()
            kind = "is away" if isinstance(error, Unavailable) else "refused a call"
            log.error("the %s %s: %s", service, kind, error)

    def backend_answered(self) -> None:
        """Note that the backend answered."""
        self._answered("backend")

    def broker_answered(self) -> None:
        """Note that the broker answered."""
        self._answered("broker")

    def _answered(self, service: str) -> None:
        since = self._since.pop(service, None)
        if since is not None:
            log.warning("the %s answers again after %.1f s", service, time.monotonic() - since)

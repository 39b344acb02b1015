"""The open services of a client: backend, broker and the parts that use them, one set for each process."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from yadtq_core.client.background import Confirmer
from yadtq_core.client.builder import notifying
from yadtq_core.client.fleet import Fleet
from yadtq_core.client.group_commit import Combiner
from yadtq_core.client.names import NameCheck
from yadtq_core.client.submitter import Confirm, Submitter
from yadtq_core.client.waiter import Waiter
from yadtq_core.errors import BackendUnavailable, YadtqError
from yadtq_core.model import Message, Submission
from yadtq_core.plugin.loading import Plugins, open_backend, open_broker
from yadtq_core.settings import Settings, masked_url
from yadtq_core.wire.payloads import Payloads

GROUP = 200
"""Submissions of one group. A larger group adds latency, not speed."""


class Services:
    """The backend, opened and checked, and the broker. The first submit opens the broker: a query needs none."""

    def __init__(self, settings: Settings, plugins: Plugins, confirm: Confirm) -> None:
        self._settings = settings
        self._process = os.getpid()
        self._closing = threading.Lock()
        self._closed = False
        self.backend = open_backend(settings, plugins)
        try:
            self.backend.check()
        except BaseException:
            self.backend.close()
            raise
        self.confirmer = Confirmer(self.backend)
        self.submitter = Submitter(
            self.backend,
            partial(open_broker, settings, plugins),
            self.confirmer,
            reached=self._close_first_at_exit,
            timeout=settings.submit_timeout,
            shards=settings.shards,
            confirm=confirm,
            queues={"default", *settings.queues},
            accepted=partial(_notify_submitted, plugins)
            if plugins.manager.implemented("yadtq_tasks_submitted")
            else None,
        )
        self.group: Combiner[Submission, None] = Combiner(
            self.submitter.begin, most=GROUP, size=_size, name="yadtq-submitter"
        )
        fleet = Fleet(self.backend)
        self.waiter = Waiter(self.backend, fleet)
        self.names = NameCheck(fleet)
        self._close_first_at_exit()

    def close(self) -> None:
        """Send and confirm all accepted calls, for at most the submit timeout and half a second, and disconnect."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self._at_exit)
        deadline = time.monotonic() + self._settings.submit_timeout
        self.waiter.close()
        self.names.close()
        self.group.close()
        self.confirmer.close(self._settings.submit_timeout)
        if self.submitter.broker is not None:
            self.submitter.broker.close(max(0.5, deadline - time.monotonic()))
        self.backend.close()

    def _close_first_at_exit(self) -> None:
        """Register the exit handler after the broker's. Handlers run in reverse order, so this one runs first."""
        atexit.unregister(self._at_exit)
        atexit.register(self._at_exit)

    def _at_exit(self) -> None:
        if os.getpid() == self._process:
            self.close()


def _size(submission: Submission) -> int:
    return len(submission.body)


def _notify_submitted(plugins: Plugins, messages: Sequence[Message]) -> None:
    notifying.now = True
    try:
        plugins.manager.notify("yadtq_tasks_submitted", messages=tuple(messages))
    finally:
        notifying.now = False


class Opened:
    """The services of one client, opened when they are first needed, and again in a forked process.

    A fork copies locks and sockets, but no threads. So the child neither uses nor closes the parent's services.
    """

    def __init__(self, settings: Settings, plugins: Plugins, payloads: Payloads, confirm: Confirm) -> None:
        self.settings = settings
        self.payloads = payloads
        self._plugins = plugins
        self._confirm = confirm
        self._services: dict[int, Services] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._closed = False
        self._unknown: list[str] = []

    def unknown_name(self, name: str) -> None:
        """Check, without blocking, whether a worker knows a task of which only the name is known here."""
        found = self._services.get(os.getpid())
        if found is not None:
            found.names.add(name)
        else:
            self._unknown.append(name)

    def here(self, within: float | None = None) -> Services:
        """Return the services of this process; raises the errors of opening them, and YadtqError after `close`.

        within: seconds after which BackendUnavailable is raised if they are not open; None: no limit.
        """
        found = self._services.get(os.getpid())
        if found is not None:
            return found
        if within is None:
            return self._open()
        try:
            return self._opening().result(within)
        except TimeoutError:
            raise self._not_open(within) from None

    async def ahere(self, within: float | None = None) -> Services:
        """Do the same as `here` without blocking the event loop."""
        found = self._services.get(os.getpid())
        if found is not None:
            return found
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._opening()), within)
        except TimeoutError:
            raise self._not_open(within or 0.0) from None

    def _opening(self) -> Future[Services]:
        """Open the services in a thread that outlives a caller whose time is up."""
        opened: Future[Services] = Future()
        opened.set_running_or_notify_cancel()  # the caller's timeout cancels nothing

        def run() -> None:
            try:
                opened.set_result(self._open())
            except BaseException as error:
                opened.set_exception(error)

        threading.Thread(target=run, name="yadtq-opener", daemon=True).start()
        return opened

    def _not_open(self, seconds: float) -> BackendUnavailable:
        return BackendUnavailable(
            f"{masked_url(self.settings.backend)} does not answer within {seconds:.2g} s: is it overloaded, paused or "
            "behind a firewall?"
        )

    def close(self) -> None:
        """Close the services of this process, and refuse to open others."""
        self._closed = True
        with self._lock():
            services = self._services.pop(os.getpid(), None)
        if services is not None:
            services.close()

    def _open(self) -> Services:
        with self._lock():
            if self._closed:
                raise YadtqError("this client is closed")
            found = self._services.get(os.getpid())
            if found is None:
                found = Services(self.settings, self._plugins, self._confirm)
                self._services[os.getpid()] = found
                while self._unknown:
                    found.names.add(self._unknown.pop())
            return found

    def _lock(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def __del__(self) -> None:
        if getattr(self, "_services", None) and os.getpid() in self._services and not self._closed:
            warnings.warn("a yadtq client was not closed: use `with` or close()", ResourceWarning, stacklevel=2)

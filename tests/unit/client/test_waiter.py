"""The waiter asks about what callers wait for, and a backend that hangs holds no caller past its timeout."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.unit.client.memory import Installation
from tests.unit.client.test_submitter import GIVEN
from tests.waiting import wait_until
from yadtq_core import BackendUnavailable, Client, Handle, WaitTimeout, call
from yadtq_core.records.subscription import StoreSubscription

LIMIT = 0.3


class Hang:
    """A backend that does not answer some methods until the end of the test."""

    def __init__(self, place: Installation) -> None:
        self.methods: set[str] = set()
        self.over = threading.Event()
        place.backend.before = self._before

    def end(self) -> None:
        """Let what hangs go on, and what comes hang again."""
        over, self.over = self.over, threading.Event()
        over.set()

    def _before(self, name: str, items: Sequence[Any]) -> None:
        if name in self.methods:
            self.over.wait(60)


@pytest.fixture
def hang(place: Installation) -> Iterator[Hang]:
    made = Hang(place)
    yield made
    made.methods = set()
    made.end()


def timed(
    action: Callable[[], object], error: type[Exception], text: str, after: Callable[[], object] = lambda: None
) -> None:
    """Check an error, and the time until it: the best of five, because the machine may be busy."""
    took = []
    for _ in range(5):
        begun = time.monotonic()
        with pytest.raises(error, match=text):
            action()
        took.append(time.monotonic() - begun)
        after()
    assert min(took) < LIMIT, took


def both(handle: Handle[Any]) -> list[Callable[[], object]]:
    return [lambda: handle.result(timeout=0.1), lambda: asyncio.run(handle.aresult(timeout=0.1))]


def test_a_backend_that_hangs_does_not_hold_a_caller(client: Client, hang: Hang) -> None:
    handle = client.submit("total")
    hang.methods = {"watch", "get"}
    for ask in both(handle):
        timed(ask, BackendUnavailable, rf"mem://here does not answer within 0.25 s.*yadtq query {handle.id}")


def test_a_backend_that_hangs_when_it_is_opened_does_not_hold_a_caller(client: Client, hang: Hang) -> None:
    hang.methods = {"check"}
    for ask in both(client.handle(GIVEN)):
        timed(ask, BackendUnavailable, "mem://here does not answer within")


def test_a_backend_that_hangs_later_ends_the_wait_as_a_timeout(client: Client, hang: Hang) -> None:
    handle = client.submit("total")
    hang.methods = {"get"}
    for ask in both(handle):
        timed(
            ask, WaitTimeout, r"has not ended after 0\.1 s: mem://here does not answer any more; it goes on", hang.end
        )


def test_those_who_gave_up_are_asked_about_no_more(place: Installation, client: Client) -> None:
    handles = client.submit_many(call("total", number) for number in range(10))
    kept = threading.Thread(target=handles[0].result)
    kept.start()
    wait_until(lambda: place.backend.sizes("watch"), "the first is waited for")
    for handle in handles:
        with pytest.raises(WaitTimeout):
            handle.result(timeout=0.05)
    assert place.backend.channel.forgotten == [handle.id for handle in handles[1:]]
    before = len(place.backend.calls)
    place.backend.channel.reconnect()
    wait_until(lambda: len(place.backend.calls) > before, "asked again")
    assert place.backend.calls[before:] == [("watch", 1)]
    place.backend.end(handles[0].id)
    kept.join(30)


def test_a_store_that_does_not_push_is_not_asked_about_what_nobody_waits_for() -> None:
    asked: list[Sequence[str]] = []

    def ended(ids: Sequence[str]) -> list[str]:
        asked.append(sorted(ids))
        return []

    subscription = StoreSubscription(None, ended, lambda channel: None)
    subscription.watch(["a", "b", "c"])
    subscription.forget(["a", "c", "never seen"])
    assert subscription.wait(0.0) == []
    assert asked == [["a", "b", "c"], ["b"]]

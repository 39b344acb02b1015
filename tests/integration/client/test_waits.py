"""Waits while Redis hangs, dies or is slow, and pushes that are lost without a sign."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.proxy import Proxy
from tests.waiting import wait_until
from yadtq_core import BackendUnavailable, Client, Handle, WaitTimeout
from yadtq_core.client import again
from yadtq_core.net import redis_client
from yadtq_local import LocalValkey

LIMIT = 0.3
GIVEN = "00000000-0000-4000-8000-000000000000"


class Wire:
    """A Redis of the test's own, a proxy before it, and a client behind that."""

    def __init__(self, server: LocalValkey, proxy: Proxy, namespace: str) -> None:
        self.server = server
        self.proxy = proxy
        self._namespace = namespace
        self.client = self.connected(f"127.0.0.1:{proxy.port}")

    def connected(self, place: str) -> Client:
        """Return a client by this address."""
        return Client.connect(f"redis+streams://{place}", f"redis://{place}", namespace=self._namespace)


@pytest.fixture
def wire(make_valkey: Callable[..., LocalValkey], namespace: str) -> Iterator[Wire]:
    server = make_valkey(port=0)
    with ExitStack() as at_end:
        proxy = at_end.enter_context(Proxy(int(server.url.rpartition(":")[2])))
        made = Wire(server, proxy, namespace)
        at_end.callback(made.client.close)
        yield made


def timed(handle: Handle[Any], errors: tuple[type[Exception], ...], text: str) -> None:
    """Check the error of a wait of 0.1 s, and the time until it: the best of five, because the machine may be busy."""
    asks: list[Callable[[], Any]] = [
        lambda: handle.result(timeout=0.1),
        lambda: asyncio.run(handle.aresult(timeout=0.1)),
    ]
    for ask in asks:
        took = []
        for _ in range(5):
            begun = time.monotonic()
            with pytest.raises(errors, match=text):
                ask()
            took.append(time.monotonic() - begun)
        assert min(took) < LIMIT, took


SILENT = r"redis://127\.0\.0\.1:\d+ does not answer.*`yadtq query "


@pytest.mark.slow
def test_a_short_wait_is_short_when_redis_hangs(wire: Wire) -> None:
    handle = wire.client.submit("t.double", 1)
    timed(handle, (WaitTimeout,), "still queued after 0.1 s: no worker is online")
    with wire.proxy.cut_off():
        timed(handle, (WaitTimeout, BackendUnavailable), SILENT)
    wait_until(lambda: answers(handle), "it is asked again")


@pytest.mark.slow
def test_a_short_wait_is_short_when_redis_is_slow(wire: Wire) -> None:
    handle = wire.client.submit("t.double", 1)
    wire.proxy.latency = 1.0
    timed(handle, (WaitTimeout, BackendUnavailable), SILENT)


@pytest.mark.slow
def test_a_short_wait_is_short_when_redis_is_dead(wire: Wire) -> None:
    handle = wire.client.submit("t.double", 1)
    with pytest.raises(WaitTimeout):
        handle.result(timeout=0.1)
    wire.server.kill()
    timed(handle, (WaitTimeout, BackendUnavailable), r"redis://127\.0\.0\.1:\d+")
    wire.server.start()
    wait_until(lambda: answers(handle), "it is asked again")


def test_a_short_wait_is_short_when_redis_hangs_before_the_first_answer(wire: Wire) -> None:
    with wire.proxy.cut_off(), Client(wire.client.settings) as fresh:
        timed(fresh.handle(GIVEN), (BackendUnavailable,), "does not answer within")


@pytest.mark.slow
def test_pushes_that_a_network_swallows_are_made_up_for_by_a_test_of_the_connection(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "FIRST", 1_000.0)
    monkeypatch.setattr(again, "LONGEST", 1_000.0)
    monkeypatch.setattr(redis_client, "PING_SECONDS", 0.2)
    monkeypatch.setattr(redis_client, "SOCKET_TIMEOUT", 1.0)
    handle = wire.client.submit("t.double", 1)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(handle.wait(timeout=60)))
    waiting.start()
    wait_until(lambda: wire.client._opened.here().waiter._again.left(0.0), "the backend knows that it is waited for")
    direct = wire.connected(wire.server.url.partition("://")[2])
    wire.proxy.lose_replies = True
    begun = time.monotonic()
    direct.cancel([handle.id])
    direct.close()
    time.sleep(2.0)  # an outage has a length
    wire.proxy.lose_replies = False
    waiting.join(60)
    assert time.monotonic() - begun < 30
    assert [record.status for record in found] == ["cancelled"]


def answers(handle: Handle[Any]) -> bool:
    """Whether the backend answers in time."""
    try:
        handle.result(timeout=0.1)
    except WaitTimeout as error:
        return bool(error.status)
    except BackendUnavailable:
        return False
    return True

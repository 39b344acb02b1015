"""The Kafka and the Redis that the tests run against: those of the machine's environment, or started here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from yadtq_core.errors import LocalStackError
from yadtq_local import LocalServer

Server = TypeVar("Server", bound=LocalServer)

KAFKA_VARIABLE, REDIS_VARIABLE = "YADTQ_TEST_KAFKA", "YADTQ_TEST_REDIS"

NOWHERE = "127.0.0.1:1"
"""Where nothing listens, now or later: a port that neither servers of tests nor outgoing connections are given."""


@contextmanager
def address(variable: str, make: Callable[[], LocalServer]) -> Iterator[str]:
    """Yield the address that the environment names in `variable`, else that of a server made for it."""
    given = os.environ.get(variable)
    if given:
        yield given
        return
    server = started(make(), variable)
    try:
        yield server.url
    finally:
        server.stop()


def started(server: Server, variable: str) -> Server:
    """Start the server. If it cannot be started, skip the test, or fail it if `CI` is set."""
    try:
        server.start()
    except LocalStackError as error:
        raise not_to_be_had(f"{error} (for these tests: {variable}=ADDRESS)") from None
    return server


def not_to_be_had(reason: str) -> BaseException:
    """Return what ends a test that lacks its service; a CI must not pass by not looking."""
    if os.environ.get("CI"):
        return pytest.fail.Exception(reason, pytrace=False)
    return pytest.skip.Exception(reason)

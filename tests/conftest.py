"""Fixtures of all tests: a real Kafka and a real Redis, started once and only where a test asks for them.

tests/unit needs no service, tests/integration needs them, tests/e2e runs real processes against them.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import services
from yadtq_local import LocalKafka, LocalValkey

FIRST_PARTY = ("crypt", "yadtq-local", "msgpack", "opentelemetry", "prometheus", "sentry")
"""Our own plugins. They are installed where the tests run, and the tests of the core are of the core without them;
the tests of a plugin say by the fixture `unblocked` (plugins/conftest.py) which of them they want."""
os.environ["YADTQ_BLOCK_PLUGINS"] = ",".join(FIRST_PARTY)

SERVED = {"kafka": {"kafka_url", "make_kafka", "secure_kafka", "stage"}, "redis": {"redis_url", "make_valkey"}}
"""Markers, and the fixtures by which a test has them."""

# The time of one example depends on the load of the machine, so no example has a deadline (the default is 200 ms).
_PATIENT = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("patient", _PATIENT)
hypothesis.settings.register_profile("fast", _PATIENT, max_examples=15)  # `make test-fast` asks for it
hypothesis.settings.load_profile("patient")


def pytest_configure() -> None:
    """Let programs that the tests start receive SIGINT, even if a shell started the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a service, for `-m 'not kafka and not redis'`."""
    for item in items:
        for marker, fixtures in SERVED.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(marker)


@pytest.fixture(scope="session")
def kafka_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Kafka 4 that all tests share: use topics of your own (`namespace`)."""
    folder = tmp_path_factory.mktemp("kafka")
    with services.address(services.KAFKA_VARIABLE, lambda: LocalKafka(folder)) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis or Valkey that all tests share: use keys of your own, and never FLUSH."""
    folder = tmp_path_factory.mktemp("valkey")
    with services.address(services.REDIS_VARIABLE, lambda: LocalValkey(folder)) as url:
        yield url


@pytest.fixture
def namespace() -> str:
    """A short name that no other test has, such as `t3f9a2c`."""
    return f"t{secrets.token_hex(3)}"


@pytest.fixture
def make_valkey(tmp_path: Path) -> Iterator[Callable[..., LocalValkey]]:
    """Start a Valkey of the test's own, to be killed, paused or filled; takes `LocalValkey`'s keywords."""
    with ExitStack() as at_end:

        def make(**options: Any) -> LocalValkey:
            server = LocalValkey(tmp_path / f"v{secrets.token_hex(2)}", **options)
            at_end.callback(server.stop)
            return services.started(server, services.REDIS_VARIABLE)

        yield make


@pytest.fixture
def make_kafka(tmp_path: Path) -> Iterator[Callable[..., LocalKafka]]:
    """Start a Kafka of the test's own (4 s), to be killed or proxied; takes `LocalKafka`'s keywords."""
    with ExitStack() as at_end:

        def make(**options: Any) -> LocalKafka:
            server = LocalKafka(tmp_path / f"k{secrets.token_hex(2)}", **options)
            at_end.callback(server.stop)
            return services.started(server, services.KAFKA_VARIABLE)

        yield make

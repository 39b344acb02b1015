"""Servers with TLS and logins, started once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import services
from tests.integration.secure.certificates import Certificates
from tests.integration.secure.servers import (
    LISTENERS,
    PASSWORD,
    SecureKafka,
    TlsRedis,
    kafka_config,
    tls_redis,
)
from yadtq_local import LocalKafka


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA and what it signed."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[SecureKafka]:
    """A Kafka with all listeners; its user may log in by PLAIN and SCRAM."""
    folder = tmp_path_factory.mktemp("secure-kafka")
    server = LocalKafka(folder, listeners=LISTENERS, config=kafka_config(certificates))
    services.started(server, services.KAFKA_VARIABLE)
    try:
        made = SecureKafka(server, certificates)
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            made.set_password(PASSWORD, mechanism)
        yield made
    finally:
        server.stop()


@pytest.fixture
def make_redis(tmp_path: Path, certificates: Certificates) -> Iterator[Callable[..., TlsRedis]]:
    """Start a Redis with TLS; takes the name of its certificate, and whether clients need one too (`mutual`)."""
    with ExitStack() as at_end:

        def make(name: str = "server", mutual: bool = False) -> TlsRedis:
            return at_end.enter_context(tls_redis(tmp_path / name, certificates, name, mutual))

        yield make

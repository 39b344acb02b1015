"""A Kafka with TLS and SASL: every way in, and every wrong one with its word."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.brokers.kafka.flow import Members
from tests.integration.secure.certificates import Certificates
from tests.integration.secure.servers import PASSWORD, QUOTED, USER, SecureKafka
from tests.services import NOWHERE
from yadtq_core.brokers import kafka
from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.broker_bed import messages, publish, step_until
from yadtq_local.ports import LOOPBACK

LOGIN = f"{USER}:{QUOTED}@"
Open = Callable[..., kafka.KafkaBroker]


@pytest.fixture
def opened(namespace: str) -> Iterator[Open]:
    """Open a broker in the test's namespace."""
    made: list[kafka.KafkaBroker] = []

    def open_it(url: str, password: str = "", reach: float = 30.0) -> kafka.KafkaBroker:
        settings = Settings(broker=url, broker_password=password, namespace=namespace, partitions=1)
        made.append(kafka.open(settings, kafka.Tuning(reach=reach)))
        return made[-1]

    yield open_it
    for broker in made:
        broker.close(2.0)


def token(subject: str = "tester", seconds: float = 3600) -> str:
    """Return an unsigned token, as Kafka's own validator for development takes it."""
    now = time.time()
    parts = ({"alg": "none"}, {"sub": subject, "iat": now - 10, "exp": now + seconds})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def carries(broker: kafka.KafkaBroker) -> None:
    """Send two messages through it and read them as a member of the group."""
    broker.ensure(["default"], create=True)
    sent = messages(2)
    publish(broker, sent)
    with Members() as members:
        member = members.join(broker)
        step_until([member], lambda: {one.id for one in sent} <= set(member.ids), "both came")


def test_tls_by_several_bootstrap_servers(secure_kafka: SecureKafka, opened: Open) -> None:
    url = secure_kafka.url("TLS").replace("://", f"://{NOWHERE},localhost:1,")
    carries(opened(url))


def test_kafka_takes_a_client_certificate(secure_kafka: SecureKafka, certificates: Certificates, opened: Open) -> None:
    carries(opened(secure_kafka.url("MUTUAL", cert=certificates.cert("client"), key=certificates.key("client"))))
    carries(opened(secure_kafka.url("MUTUAL", cert=certificates.both("client"))))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_login_with_the_password_in_the_address(
    secure_kafka: SecureKafka, opened: Open, namespace: str, mechanism: str
) -> None:
    secure_kafka.allow(namespace, ("CREATE", "READ", "WRITE"), ("READ",))
    carries(opened(secure_kafka.url("LOGIN", LOGIN, sasl=mechanism)))


def test_a_login_without_tls_and_the_password_from_the_settings(
    secure_kafka: SecureKafka, opened: Open, namespace: str
) -> None:
    secure_kafka.allow(namespace, ("CREATE", "READ", "WRITE"), ("READ",))
    carries(opened(secure_kafka.url("CLEAR", f"{USER}@", sasl="PLAIN"), PASSWORD))


def test_a_token_from_a_file_that_changes(secure_kafka: SecureKafka, opened: Open, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("no token at all\n")
    broker = opened(secure_kafka.url("TOKEN", sasl="OAUTHBEARER", password_file=file))
    with pytest.raises(ConfigurationRefused, match="refuses the login of the token"):
        broker.ensure(["default"], create=True)
    file.write_text(token() + "\n")
    carries(broker)
    carries(opened(secure_kafka.url("TOKEN", sasl="OAUTHBEARER"), token()))


def test_nothing_verified_is_a_warning_at_every_start(
    secure_kafka: SecureKafka, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    for listener in ("EXPIRED", "ELSEWHERE", "SELFSIGNED"):
        opened(secure_kafka.url(listener, verify="none")).ensure(["default"], create=True)
    assert [record.levelname for record in caplog.records if "verify=none" in record.getMessage()] == ["WARNING"] * 3


def test_a_self_signed_certificate_can_be_trusted(
    secure_kafka: SecureKafka, certificates: Certificates, opened: Open
) -> None:
    opened(secure_kafka.url("SELFSIGNED", ca=certificates.cert("selfsigned"))).ensure(["default"], create=True)


WRONG: tuple[tuple[str, str, dict[str, str], str], ...] = (
    ("EXPIRED", "", {}, "its certificate has expired"),
    ("ELSEWHERE", "", {}, "its certificate is for another host"),
    ("SELFSIGNED", "", {}, "its certificate is self-signed: give it by ca=FILE"),
    ("TLS", "", {"ca": ""}, "its certificate is from an unknown CA|self-signed"),
    ("MUTUAL", "", {}, "it refuses the client's certificate: give the client's certificate"),
    ("LOGIN", "", {}, "it wants a login: sasl=PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
    ("LOGIN", f"{USER}:wr0ng@", {"sasl": "PLAIN"}, f"refuses the login of user '{USER}'"),
    ("LOGIN", f"{USER}:wr0ng@", {"sasl": "SCRAM-SHA-512"}, f"refuses the login of user '{USER}'"),
    ("LOGIN", ":wr0ng@", {"sasl": "OAUTHBEARER"}, "does not take sasl=OAUTHBEARER, it takes PLAIN, SCRAM"),
    ("CLEAR", f"{USER}:wr0ng@", {"sasl": "PLAIN"}, f"refuses the login of user '{USER}'"),
    ("CLEAR", "", {}, "it wants a login: sasl=PLAIN"),
    ("TLS", f"{USER}:wr0ng@", {"sasl": "PLAIN"}, "it takes no login"),
    ("TOKEN", ":wr0ng@", {"sasl": "OAUTHBEARER"}, "refuses the login of the token"),
)


@pytest.mark.parametrize("wrong", WRONG, ids=[f"{one[0]}-{one[3][:40]}" for one in WRONG])
def test_wrong_tls_and_login_settings_are_refused_soon_in_one_line(
    secure_kafka: SecureKafka,
    opened: Open,
    caplog: pytest.LogCaptureFixture,
    wrong: tuple[str, str, dict[str, str], str],
) -> None:
    listener, login, options, said = wrong
    caplog.set_level(logging.DEBUG)
    broker = opened(secure_kafka.url(listener, login, **options))
    began = time.monotonic()
    with pytest.raises(ConfigurationRefused, match=said) as refused:
        broker.ensure(["default"], create=False)
    assert time.monotonic() - began < 20  # long before the timeout of an unreachable broker
    assert refused.value.exit_code == 7
    assert "\n" not in str(refused.value)
    assert "wr0ng" not in str(refused.value) + caplog.text
    assert "wr0ng" not in repr([vars(record) for record in caplog.records])


def test_the_error_names_what_listens_at_the_address_of_kafka(
    secure_kafka: SecureKafka, opened: Open, redis_url: str, make_valkey: Callable[..., object]
) -> None:
    plain, secured = (secure_kafka.server.ports[name] for name in ("CLIENT", "TLS"))
    with pytest.raises(ConfigurationRefused, match=r"it does not speak TLS: use kafka://"):
        opened(f"kafka+ssl://{LOOPBACK}:{plain}", reach=2.0).ensure(["default"], create=False)
    with pytest.raises(ConfigurationRefused, match=r"it speaks TLS: use kafka\+ssl://"):
        opened(f"kafka://{LOOPBACK}:{secured}", reach=2.0).ensure(["default"], create=False)
    redis = make_valkey(aof=False, port=0).url.removeprefix("redis://")  # type: ignore[attr-defined]
    for scheme in ("kafka", "kafka+ssl"):
        with pytest.raises(ConfigurationRefused, match=f"{redis} answers like Redis, not Kafka"):
            opened(f"{scheme}://{redis}", reach=2.0).ensure(["default"], create=False)
    with pytest.raises(BrokerUnavailable):
        opened(f"kafka+ssl://{NOWHERE}", reach=0.5).ensure(["default"], create=False)


def test_wrong_certificate_files_are_refused(
    secure_kafka: SecureKafka, certificates: Certificates, opened: Open, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    client = certificates.cert("client")
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"ca": tmp_path / "none.pem"}, "ca .*none.pem cannot be read: No such file"),
        ({"ca": tmp_path}, "ca .* cannot be read: Is a directory"),
        ({"ca": empty}, "ca .*empty holds no certificate in PEM"),
        ({"cert": empty}, "cert .*empty: no certificate and private key in PEM"),
        ({"cert": client}, "no certificate and private key in PEM"),
        ({"cert": client, "key": tmp_path / "none.key"}, "key .*none.key cannot be read: No such file"),
        ({"cert": client, "key": certificates.key("server")}, "key .*server.key does not belong to cert"),
        ({"cert": client, "key": certificates.locked_key("client")}, "has a passphrase: use a key without"),
    )
    for options, said in wrong:
        with pytest.raises(ConfigurationRefused, match=said):
            opened(secure_kafka.url("TLS", **options))
    for file, said in ((empty, "is empty"), (tmp_path / "none", "cannot be read: No such file")):
        with pytest.raises(ConfigurationRefused, match=f"password_file .* {said}"):
            opened(secure_kafka.url("LOGIN", f"{USER}@", sasl="PLAIN", password_file=file))


def test_a_password_from_a_file(secure_kafka: SecureKafka, opened: Open, namespace: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    secure_kafka.allow(namespace, ("CREATE", "READ", "WRITE"), ("READ",))
    carries(opened(secure_kafka.url("LOGIN", f"{USER}@", sasl="SCRAM-SHA-512", password_file=file)))


def test_a_submitter_needs_only_the_documented_grants(secure_kafka: SecureKafka, opened: Open, namespace: str) -> None:
    opened(secure_kafka.url("TLS")).ensure(["default"], create=True)
    client = opened(secure_kafka.url("LOGIN", LOGIN, sasl="SCRAM-SHA-512"))
    with pytest.raises(ConfigurationRefused, match=rf"its user may not DESCRIBE yadtq\.{namespace}\.default"):
        client.ensure(["default"], create=False)
    secure_kafka.allow(namespace, ("DESCRIBE", "WRITE"))
    client.ensure(["default"], create=False)
    publish(client, messages(1))
    with pytest.raises(ConfigurationRefused, match="not authorized"):
        client.grow(["default"], 2)
    secure_kafka.allow(namespace, ("ALTER",))
    client.grow(["default"], 2)

"""Addresses of a Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from yadtq_core.brokers.kafka.urls import parse
from yadtq_core.errors import InvalidSetting
from yadtq_core.net.tls import Tls


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("kafka://localhost", ("localhost:9092",)),
        ("kafka://h1:19092,h2,h3.example.org:9093", ("h1:19092", "h2:9092", "h3.example.org:9093")),
        ("kafka://h1:9092, h2:9093/", ("h1:9092", "h2:9093")),
        ("kafka://127.0.0.1:1,[::1]:65535,[fe80::1]", ("127.0.0.1:1", "[::1]:65535", "[fe80::1]:9092")),
    ],
)
def test_servers_of_an_address(url: str, expected: tuple[str, ...]) -> None:
    assert parse(url).servers == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://localhost:9092", "its scheme is http, not kafka"),
        ("localhost:9092", "its scheme is localhost, not kafka"),
        ("", "its scheme is missing"),
        ("kafka://", "a host is missing"),
        ("kafka://h1:9092,,h2", "a host is missing"),
        ("kafka://:9092", "a host is missing"),
        ("kafka://h1:", "port '' is not a number"),
        ("kafka://h1:0", "port '0' is not a number from 1 to 65535"),
        ("kafka://h1:65536", "port '65536'"),
        ("kafka://h1:\uff19\uff10", "port"),
        ("kafka://h1:90-92", "port '90-92'"),
        ("kafka://h 1:9092", "'h 1' is not a host"),
        ("kafka://[::1", "(?i)ipv6"),
        ("kafka://h1/topic", "it takes no path, got '/topic'"),
        ("kafka://h1?acks=1&x=2", "cannot use 'acks' here; known: password_file, sasl"),
        ("kafka://h1?ca=/ca.pem", "cannot use 'ca' here"),
        ("kafka://user:secret@h1", r"a login needs \?sasl=PLAIN"),
        ("kafka://h1?password_file=/p", r"a login needs \?sasl=PLAIN"),
        ("kafka+ssl://u:sec@ret@h1?sasl=PLAIN", "write an @ in a user name or password as %40"),
        ("kafka+ssl://u:secret@h1?sasl=GSSAPI", "sasl is one of PLAIN, SCRAM-SHA-256"),
        ("kafka+ssl://u:secret@h1?sasl=PLAIN&password_file=/p", "a password and password_file: leave one out"),
        ("kafka+ssl://u@h1?sasl=PLAIN", "the password is missing: set YADTQ_BROKER_PASSWORD"),
        ("kafka+ssl://h1?sasl=OAUTHBEARER", "the token is missing: set YADTQ_BROKER_PASSWORD"),
        ("kafka+ssl://h1?sasl=PLAIN&password_file=/p", "PLAIN takes a user"),
        ("kafka+ssl://u:secret@h1?sasl=OAUTHBEARER", "OAUTHBEARER takes no user, only a token"),
        ("kafka+ssl://h1?verify=false", "verify must be none, or left out"),
        ("kafka+ssl://h1?verify=none&ca=/ca.pem", "contradict each other"),
        ("kafka+ssl://h1?key=/k", "key needs cert"),
        ("kafka+ssl://h1?ca=", "ca is empty"),
        ("kafka+ssl://h1?ca=/a&ca=/b", "ca is given twice"),
    ],
)
def test_addresses_that_cannot_be(url: str, reason: str) -> None:
    with pytest.raises(InvalidSetting, match=reason) as refused:
        parse(url)
    assert "secret" not in str(refused.value)
    assert "kafka://host:9092" in str(refused.value)


def test_tls_and_login_in_an_address() -> None:
    address = parse("kafka+ssl://u%40x:p%2F%23@h1,h2:9093?sasl=SCRAM-SHA-512&ca=/ca.pem&cert=/c.pem&key=/k.pem")
    assert address.servers == ("h1:9092", "h2:9093")
    assert address.tls == Tls("/ca.pem", "/c.pem", "/k.pem")
    assert address.login is not None
    assert (address.login.mechanism, address.login.user, address.login.secret.read()) == (
        "SCRAM-SHA-512",
        "u@x",
        "p/#",
    )
    assert "p%2F" not in address.shown + repr(address)
    assert parse("kafka+ssl://h1?verify=none").tls == Tls(verify=False)


def test_the_password_of_the_address_counts_then_the_settings_then_the_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("of the file\n")

    def password(login: str, setting: str, options: str = "") -> str:
        found = parse(f"kafka+ssl://{login}@h?sasl=PLAIN{options}", setting).login
        assert found is not None
        return found.secret.read()

    assert password("u:address", "setting") == "address"
    assert password("u", "setting", f"&password_file={file}") == "setting"
    assert password("u", "", f"&password_file={file}") == "of the file"

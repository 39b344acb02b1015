"""Addresses of a Kafka."""

from __future__ import annotations

import pytest

from yadtq_core.brokers.kafka.urls import servers
from yadtq_core.errors import InvalidSetting


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
    assert servers(url) == expected


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
        ("kafka://h1?acks=1&x=2", "it takes no parameters, got acks, x"),
        ("kafka://user:secret@h1", "user and password"),
    ],
)
def test_addresses_that_cannot_be(url: str, reason: str) -> None:
    with pytest.raises(InvalidSetting, match=reason) as refused:
        servers(url)
    assert "secret" not in str(refused.value)
    assert "kafka://host:9092" in str(refused.value)

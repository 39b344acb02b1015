"""An address is refused before it is opened, with what to write instead, and its password is never shown."""

from __future__ import annotations

import pytest

from yadtq_core.connect import open_store
from yadtq_core.errors import InvalidSetting

GOOD = (
    "redis://localhost",
    "redis://localhost:6379/0",
    "redis://user:p%40ss@[::1]:6379/15",
    "rediss://host:6380/0?ssl_ca_certs=/etc/ca.pem",
    "unix:///run/redis.sock?db=2",
    "unix://user:secret@/run/redis.sock",
)
BAD = (
    ("redis://:p@ss@host", "%40"),
    ("redis://host/abc", "database's number, got 'abc'"),
    ("redis://host/-1", "database's number"),
    ("redis://host:0", "1 to 65535"),
    ("redis://host:99999", "not an address"),
    ("redis://host:port", "not an address"),
    ("redis://[::1", "not an address"),
    ("http://host:6379", "use redis://"),
    ("host:6379", "use redis://"),
    ("", "use redis://"),
    ("unix://run/redis.sock", "unix:///run/redis.sock"),
    ("unix:", "unix:///run/redis.sock"),
    ("redis://host?database=1", "cannot use 'database'"),
    ("redis://host?db=x", "cannot use 'db'"),
    ("redis://host?socket_timeout=1e9", "cannot use 'socket_timeout'"),
)


@pytest.mark.parametrize("url", GOOD)
def test_what_can_be_opened_is_not_refused(url: str) -> None:
    open_store(url).close()


@pytest.mark.parametrize(("url", "sign"), BAD)
def test_what_cannot_is_refused_with_what_to_write(url: str, sign: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        open_store(url)
    assert sign in str(caught.value)


def test_no_refusal_shows_a_password() -> None:
    for url in ("redis://:hidden@host/abc", "redis://u:hidden@h:99999", "redis://:hid@den@host", "x://u:hidden@h"):
        with pytest.raises(InvalidSetting) as caught:
            open_store(url)
        assert "hid" not in str(caught.value)
        assert "den" not in str(caught.value)

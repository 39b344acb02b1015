"""An address is refused before it is opened, with what to write instead, and its password is never shown."""

from __future__ import annotations

import pytest

from yadtq_core.errors import InvalidSetting
from yadtq_core.net.redis_client import open_store

GOOD = (
    "redis://localhost",
    "redis://localhost:6379/0",
    "redis://user:p%40ss@[::1]:6379/15",
    "rediss://host:6380/0",
    "redis+sentinel://u:secret@s1:26379,s2/mymaster/3",
    "rediss+sentinel://s1,[::1]:26379/mymaster?verify=none",
    "unix:///run/redis.sock?db=2",
    "unix://user:secret@/run/redis.sock",
)
BAD = (
    ("redis://:p@ss@host", "%40"),
    ("redis://host/abc", "database number, got 'abc'"),
    ("redis://host/-1", "database number"),
    ("redis://host:0", "1 to 65535"),
    ("redis://host:99999", "1 to 65535"),
    ("redis://host:port", "1 to 65535"),
    ("redis://h1:6379,h2:6379", "several hosts need Sentinels"),
    ("redis://::1", "in brackets"),
    ("redis+sentinel://s1:26379", "must name the service"),
    ("redis+sentinel://s1/mymaster/x", "database number, got 'x'"),
    ("redis+cluster://h", "use redis://"),
    ("rediss+cluster://h", "use redis://"),
    ("redis://h?ca=/ca.pem", "cannot use 'ca'"),
    ("redis://h?sentinel_user=x", "cannot use 'sentinel_user'"),
    ("rediss://u:p@h?password_file=/p", "leave one out"),
    ("rediss://h?verify=no", "verify must be none, or left out"),
    ("redis://:pa#ss@h", "%23"),
    ("redis://[::1", "not an address"),
    ("http://host:6379", "use redis://"),
    ("host:6379", "use redis://"),
    ("", "use redis://"),
    ("unix://run/redis.sock", "unix:///run/redis.sock"),
    ("unix:", "unix:///run/redis.sock"),
    ("redis://host?database=1", "cannot use 'database'"),
    ("redis://host?db=x", "db must be a database number, got 'x'"),
    ("redis://host?socket_timeout=1e9", "cannot use 'socket_timeout'"),
)


@pytest.mark.parametrize("url", GOOD)
def test_good_addresses_are_opened(url: str) -> None:
    open_store(url).close()


@pytest.mark.parametrize(("url", "sign"), BAD)
def test_bad_addresses_are_refused_with_a_remedy(url: str, sign: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        open_store(url)
    assert sign in str(caught.value)


def test_no_refusal_shows_a_password() -> None:
    for url in ("redis://:hidden@host/abc", "redis://u:hidden@h:99999", "redis://:hid@den@host", "x://u:hidden@h"):
        with pytest.raises(InvalidSetting) as caught:
            open_store(url)
        assert "hid" not in str(caught.value)
        assert "den" not in str(caught.value)

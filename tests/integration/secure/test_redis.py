"""A Redis with TLS and logins: every way in, and every wrong one with its word."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.secure.certificates import Certificates
from tests.integration.secure.servers import PASSWORD, QUOTED, USER, SecureKafka, TlsRedis
from tests.proxy import Proxy
from tests.services import NOWHERE
from yadtq_core.backends.redis import backend as backends
from yadtq_core.errors import BackendUnavailable, ConfigurationRefused
from yadtq_core.net.redis_client import Store, open_store
from yadtq_core.settings import Settings
from yadtq_local import LocalValkey
from yadtq_local.ports import LOOPBACK

Make = Callable[..., TlsRedis]
LOGIN = f"{USER}:{QUOTED}@"


def answers(url: str, password: str = "") -> bool:
    """Return whether it answers, also to pushes."""
    store = open_store(url, password=password)
    try:
        listener = store.listen("yadtq:test")
        store.run("PUBLISH", "yadtq:test", "x")
        return listener.wait(30) == [b"x"] and bool(store.run("PING"))
    finally:
        store.close()


def with_user(server: TlsRedis) -> TlsRedis:
    """Give the server our user."""
    inside = open_store(server.plain)
    inside.run("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~yadtq:*", "&yadtq:*", "+@all")
    inside.close()
    return server


def test_tls_and_every_place_of_a_password(make_redis: Make, tmp_path: Path) -> None:
    server = with_user(make_redis())
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    assert answers(server.url())
    assert answers(server.url(LOGIN))
    assert answers(server.url(f"{USER}@"), PASSWORD)
    assert answers(server.url(f"{USER}@", password_file=file))


def test_a_password_that_was_changed_in_its_file_is_used(make_redis: Make, tmp_path: Path) -> None:
    server = with_user(make_redis())
    file = tmp_path / "password"
    file.write_text("wr0ng")
    store = open_store(server.url(f"{USER}@", password_file=file))
    with pytest.raises(ConfigurationRefused, match="user or password is wrong"):
        store.run("PING")
    file.write_text(PASSWORD)
    assert store.run("PING")
    file.unlink()
    store.close()
    with pytest.raises(ConfigurationRefused, match=r"password_file .* cannot be read"):
        store.run("PING")


def test_redis_takes_a_client_certificate(make_redis: Make, certificates: Certificates) -> None:
    server = make_redis("server", mutual=True)
    assert answers(server.url(cert=certificates.cert("client"), key=certificates.key("client")))
    assert answers(server.url(cert=certificates.both("client")))
    with pytest.raises(ConfigurationRefused, match="it refuses the client's certificate"):
        answers(server.url())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("expired", "its certificate has expired"),
        ("elsewhere", "its certificate is for another host"),
        ("selfsigned", "its certificate is self-signed: give it by ca=FILE"),
    ],
)
def test_a_certificate_that_is_wrong_is_named_and_can_be_passed_over_with_a_warning(
    make_redis: Make, caplog: pytest.LogCaptureFixture, name: str, said: str
) -> None:
    server = make_redis(name)
    with pytest.raises(ConfigurationRefused, match=said) as refused:
        answers(server.url())
    assert "\n" not in str(refused.value)
    backends.open(Settings(backend=server.url(verify="none"))).close()
    assert "verify=none" in caplog.text
    assert answers(server.url(verify="none"))


def test_an_unknown_ca_is_named(make_redis: Make, certificates: Certificates) -> None:
    server = make_redis()
    for options in ({"ca": ""}, {"ca": certificates.cert("other")}):
        with pytest.raises(ConfigurationRefused, match="its certificate is from an unknown CA: give the CA by ca=FILE"):
            answers(server.url(**options))
    with pytest.raises(ConfigurationRefused, match=r"ca .*none.pem cannot be read: No such file"):
        answers(server.url(ca=certificates.ca.with_name("none.pem")))


def test_a_wrong_login_is_said_and_never_shown(make_redis: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = with_user(make_redis())
    with pytest.raises(ConfigurationRefused, match="user or password is wrong") as refused:
        answers(server.url(f"{USER}:wr0ng@"))
    assert "wr0ng" not in str(refused.value) + caplog.text
    with pytest.raises(ConfigurationRefused, match=r"none is set on the server|user or password is wrong"):
        answers(server.url(":wr0ng@"))


def test_the_error_names_what_listens_at_the_address_of_redis(
    make_redis: Make, make_valkey: Callable[..., LocalValkey], secure_kafka: SecureKafka
) -> None:
    secured, plain = make_redis(), make_valkey(aof=False, port=0).url
    with pytest.raises(ConfigurationRefused, match="it speaks TLS: use rediss://"):
        answers(secured.url(scheme="redis"))
    with pytest.raises(ConfigurationRefused, match="it does not speak TLS: use redis://"):
        answers(plain.replace("redis://", "rediss://"))
    kafka = f"{LOOPBACK}:{secure_kafka.server.ports['CLIENT']}"
    for scheme in ("redis", "rediss"):
        with pytest.raises(ConfigurationRefused, match=f"{kafka} answers like Kafka, not Redis"):
            answers(f"{scheme}://{kafka}")
    with pytest.raises(BackendUnavailable, match="nothing listens there"):
        answers(f"rediss://{NOWHERE}")


def test_a_password_over_the_network_in_the_clear_is_a_warning() -> None:
    def warnings(url: str) -> list[str]:
        store: Store = open_store(url)
        store.close()
        return store.warnings()

    assert "without TLS" in warnings("redis://:hunter2@redis.example:6379")[0]
    assert "hunter2" not in warnings("redis://:hunter2@redis.example:6379")[0]
    for url in ("redis://:x@localhost", "redis://:x@127.0.0.1", "redis://:x@[::1]:1", "redis://h", "rediss://:x@h"):
        assert not warnings(url)


def test_a_client_that_is_refused_does_not_go_on_asking(make_redis: Make) -> None:
    server = make_redis("expired")
    with Proxy(server.port) as proxy:
        for _ in range(3):
            with pytest.raises(ConfigurationRefused, match="its certificate has expired"):
                answers(server.url().replace(f":{server.port}/", f":{proxy.port}/"))
        assert proxy.accepted <= 30  # five each, of which one says what is wrong; it would ask for ever

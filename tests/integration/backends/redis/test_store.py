"""The store itself: refused, full, read-only, restarted, forbidden things, gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.backends.redis.bed import Bed
from tests.services import NOWHERE
from tests.waiting import wait_until
from yadtq_core.backends.redis import backend as backends
from yadtq_core.backends.redis.scripts import ALL
from yadtq_core.errors import BackendUnavailable, BrokerUnavailable, ConfigurationRefused
from yadtq_core.model import Status
from yadtq_core.net import redis_client
from yadtq_core.net.redis_client import open_store
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import STATS, outcome, submission
from yadtq_local import LocalValkey

Make = Callable[..., LocalValkey]
LINE = "user yadtq on >secret ~yadtq:* &yadtq:* +@read +@write +@scripting +@pubsub +@connection +@transaction +time"
LINE += " -@dangerous +info"


def test_settings_open_it(redis_url: str, namespace: str) -> None:
    backend = backends.open(Settings(backend=redis_url, namespace=namespace))
    given = submission()
    assert backend.create([given])[0].code == "new"
    assert backend.cancel([given.message.id], "test") == ["cancelled"]
    backend.close()
    backend.close()


def test_another_number_of_shards_is_refused_with_both(bed: Bed) -> None:
    bed.backend.check()
    with pytest.raises(ConfigurationRefused, match=r"spread over 1 shard, the settings say 4: set shards = 1"):
        bed.open(shards=4).check()


def test_another_format_is_refused(bed: Bed) -> None:
    bed.backend.check()
    bed.store.run("HSET", f"yadtq:{{{bed.namespace}}}:meta", "format", 9)
    with pytest.raises(ConfigurationRefused, match=r"format 9, this yadtq reads 1"):
        bed.backend.check()


def test_eviction_is_refused(own_bed: Bed) -> None:
    own_bed.store.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    own_bed.backend.check()  # without a limit nothing is thrown away
    own_bed.store.run("CONFIG", "SET", "maxmemory", "100mb")
    with pytest.raises(ConfigurationRefused, match="allkeys-lru"):
        own_bed.backend.check()


def test_a_full_store_refuses_new_work_only(own_bed: Bed) -> None:
    bed = own_bed
    running, ended, failing = bed.submit(3)
    answer = bed.run(running)
    bed.store.run("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(ConfigurationRefused, match="the result store is full"):
        bed.submit()
    bed.backend.heartbeat(bed.worker, STATS, ())
    assert bed.backend.extend([bed.hold(running, answer)], bed.worker) == ["ok"]
    assert bed.finish(outcome(running.message.id, answer)) == ["ok"]
    assert bed.finish(outcome(ended.message.id, bed.run(ended))) == ["ok"]
    bed.fail(failing)
    assert bed.failed() == [failing.message.id]
    bed.backend.buried([failing.message.id])
    assert bed.backend.counts().ended == {"success": 2, "failed": 1}


def test_a_replica_is_refused(own_bed: Bed) -> None:
    own_bed.store.run("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ConfigurationRefused, match="replica"):
        own_bed.backend.check()
    with pytest.raises(ConfigurationRefused, match="replica"):
        own_bed.submit()


def test_a_store_that_was_restarted_learns_the_scripts_again(make_valkey: Make, namespace: str) -> None:
    server = make_valkey()
    bed = Bed(server.url, namespace)
    one = bed.submit()[0]
    first = bed.backend.heartbeat(bed.worker, STATS, ())
    server.stop()
    with pytest.raises(BackendUnavailable):
        bed.submit()
    server.start()

    assert bed.record(one).status is Status.QUEUED
    assert bed.finish(outcome(one.message.id, bed.run(one))) == ["ok"]
    second = bed.backend.heartbeat(bed.worker, STATS, first.epochs)
    assert second.epochs[0].id != first.epochs[0].id
    assert second.epochs[0].past[-1].from_ms == first.epochs[0].mark_ms


def test_a_pooled_connection_that_was_closed_is_replaced(own_bed: Bed) -> None:
    own_bed.submit()
    killer = open_store(own_bed.url)
    killer.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert own_bed.submit()
    killer.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wide = own_bed.open(shards=3)
    assert len(wide.counts().queues) == 1
    killer.close()


def test_the_permissions_we_publish_are_enough_and_a_missing_one_is_named(own_bed: Bed) -> None:
    own_bed.store.run("ACL", "SETUSER", *LINE.split()[1:])
    url = own_bed.url.replace("unix://", "unix://yadtq:secret@").replace("redis://", "redis://yadtq:secret@")
    allowed = Bed(url, own_bed.namespace)
    allowed.backend.check()
    allowed.backend.heartbeat(allowed.worker, STATS, ())
    one = allowed.submit()[0]
    mine = allowed.backend.subscribe()
    allowed.backend.watch([one.message.id], mine.channel)
    allowed.finish(outcome(one.message.id, allowed.run(one)))
    assert mine.wait(30) == [one.message.id]
    mine.close()

    own_bed.store.run("ACL", "SETUSER", "yadtq", "-info")
    with pytest.raises(ConfigurationRefused, match="lacks a permission"):
        allowed.backend.heartbeat(allowed.worker, STATS, ())
    own_bed.store.run("ACL", "SETUSER", "yadtq", "-evalsha", "-eval")
    with pytest.raises(ConfigurationRefused, match=r"lacks a permission.*evalsha"):
        allowed.submit()
    allowed.store.close()


def test_a_wrong_password_is_reported_and_never_shown(make_valkey: Make) -> None:
    server = make_valkey(aof=False, port=0)
    open_store(server.url).run("CONFIG", "SET", "requirepass", "right")
    host = server.url.removeprefix("redis://")
    for user, sign in ((":wr0ng@", "user or password is wrong"), ("", "a password is required")):
        with pytest.raises(ConfigurationRefused, match=sign) as caught:
            open_store(f"redis://{user}{host}").run("PING")
        assert "wr0ng" not in str(caught.value)


def test_an_unreachable_store_is_unavailable_with_a_remedy(tmp_path: Path) -> None:
    url = f"redis://:secret@{NOWHERE}"
    with pytest.raises(BackendUnavailable, match=r"nothing listens there: start Redis") as caught:
        open_store(url).run("PING")
    assert "secret" not in str(caught.value)
    with pytest.raises(BrokerUnavailable):
        open_store(url, unavailable=BrokerUnavailable).run("PING")
    with pytest.raises(BackendUnavailable, match="the socket does not exist"):
        open_store(f"unix://{tmp_path}/none.sock").run("PING")


def test_a_store_without_tls_is_said_to_have_none(make_valkey: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_client, "CONNECT_TIMEOUT", 1.0)
    server = make_valkey(aof=False, port=0)
    with pytest.raises(ConfigurationRefused, match="it does not speak TLS: use redis://"):
        open_store(server.url.replace("redis://", "rediss://")).run("PING")


def test_too_many_clients_are_said(make_valkey: Make) -> None:
    server = make_valkey(aof=False, port=0, config={"maxclients": "1"})
    first = open_store(server.url)
    first.run("PING")
    with pytest.raises(BackendUnavailable, match=r"no more clients|closed the connection"):
        open_store(server.url).run("PING")
    first.close()


def test_every_script_declares_its_flags() -> None:
    for script in ALL:
        first = script.source.partition("\n")[0]
        assert first == "#!lua" if script.name == "create" else first.startswith("#!lua flags=allow-oom")


def test_no_call_waits_for_a_busy_server(own_bed: Bed) -> None:
    own_bed.store.run("CONFIG", "SET", "busy-reply-threshold", "50")
    slow = open_store(own_bed.url)
    code = "local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < 2 do end return 1"
    thread = threading.Thread(target=lambda: slow.run("EVAL", "#!lua flags=no-writes\n" + code, 0))
    thread.start()
    found: list[str] = []

    def refused() -> bool:
        try:
            own_bed.store.run("GET", "x")
        except BackendUnavailable as error:
            found.append(str(error))
        return bool(found)

    wait_until(refused, "the server says that it is busy")
    thread.join(30)
    assert "busy" in found[0]
    slow.close()


@pytest.mark.parametrize("together", [1, 250])
def test_a_refused_retry_may_have_succeeded_the_first_time(
    own_bed: Bed, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Found by a critic: a submit whose first reply was lost and whose repeat met a full store was called refused."""
    given = [submission() for _ in range(together)]
    own_bed.submit()  # the script is known there now

    def cut_off(send: Callable[..., Any]) -> Callable[..., Any]:
        sent: list[Any] = []

        def first_without_an_answer(*what: Any) -> Any:
            sent.append(send(*what))
            if len(sent) > 1:
                return sent[-1]
            with redis.Redis.from_url(own_bed.url) as other:
                other.config_set("maxmemory", "1mb")
            raise redis.ConnectionError("Connection closed by server.")

        return first_without_an_answer

    with monkeypatch.context() as patch:
        for name in ("_execute", "_pipelined"):  # one command goes by itself, several together
            patch.setattr(own_bed.store, name, cut_off(getattr(own_bed.store, name)))
        with pytest.raises(BackendUnavailable, match="closed the connection"):
            own_bed.backend.create(given)
    found = own_bed.backend.get([one.message.id for one in given])
    assert [record.status for record in found if record] == [Status.QUEUED] * together

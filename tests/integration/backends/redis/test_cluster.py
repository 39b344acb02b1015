"""Each call touches the keys that it names, all in one slot: the contract, on a Cluster of three masters."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.integration.backends.redis.cluster import Cluster, Strict
from tests.services import started
from yadtq_core.backends.redis import scripts
from yadtq_core.backends.redis.backend import RedisBackend
from yadtq_core.backends.redis.keys import Keys
from yadtq_core.backends.redis.scripts import ALL
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.interfaces import Backend
from yadtq_core.model import CreateCode, Status
from yadtq_core.net.redis_scripts import Script, ScriptCall, evaluate
from yadtq_core.settings import Settings
from yadtq_core.testing import BackendContract
from yadtq_core.testing.contracts.backend_bed import STATS, BackendBed, given_back, outcome, submission
from yadtq_local import LocalValkey

pytestmark = pytest.mark.slow
SHARDS = 3


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of all tests of this file."""
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as at_end:

        def make(**options: Any) -> LocalValkey:
            server = started(LocalValkey(folder / secrets.token_hex(2), **options), "YADTQ_TEST_REDIS")
            at_end.callback(server.stop)
            return server

        made = Cluster(make)
        at_end.callback(made.close)
        yield made


@pytest.fixture(scope="module")
def strict(cluster: Cluster) -> Strict:
    """The store of all tests of this file."""
    return Strict(cluster)


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    """A namespace whose three shards are on three masters."""
    while True:
        name = f"t{secrets.token_hex(3)}"
        if len({cluster.master(shard.open) for shard in Keys(name, SHARDS).shards}) == SHARDS:
            return name


class TestRedisCluster(BackendContract):
    @pytest.fixture(autouse=True)
    def _store(self, strict: Strict) -> None:
        self.strict = strict

    @pytest.fixture
    def settings(self, namespace: str) -> Settings:
        return Settings(namespace=namespace, shards=SHARDS)

    def open(self, settings: Settings) -> Backend:
        return RedisBackend(self.strict, settings)

    def test_a_stream_is_in_the_slot_of_its_shard(self, bed: BackendBed, namespace: str) -> None:
        def stream(queue: str, shard: int) -> str:
            return f"yadtq:{{{namespace}:{shard}}}:stream:{queue}"

        made = bed.backend.create([submission() for _ in range(30)], stream=stream)
        assert [(one.code, one.published) for one in made] == [(CreateCode.NEW, True)] * 30


def test_each_script_is_called_on_each_master(cluster: Cluster, namespace: str) -> None:
    store = Strict(cluster)
    bed = BackendBed(lambda **given: RedisBackend(store, Settings(namespace=namespace, shards=SHARDS, **given)))
    epochs = bed.backend.heartbeat(bed.worker, STATS, ()).epochs
    waiting, lost, failed = (bed.submit(60) for _ in range(3))
    bed.confirm(*waiting)
    assert bed.backend.recover("default", [(number, 0, 100) for number in range(256)], epochs) == 60
    assert len(bed.take()) == 60
    bed.backend.offer(waiting)
    answers = bed.claim(failed)
    bed.backend.watch([one.message.id for one in failed], "channel")
    bed.backend.extend([bed.hold(one, answer) for one, answer in zip(failed, answers, strict=True)], bed.worker)
    bed.finish(*(outcome(one.message.id, run, Status.FAILED) for one, run in zip(failed, answers, strict=True)))
    ids = bed.failed()
    assert len(ids) == 60
    assert all(bed.backend.messages(ids))
    assert all(bed.backend.ended(ids))
    bed.backend.buried(ids)
    runs = bed.claim(lost)
    bed.backend.release([given_back(one.message.id, run) for one, run in zip(lost, runs, strict=True)], bed.worker)
    bed.backend.cancel([one.message.id for one in lost], "enough")
    assert bed.backend.counts().ended == {"failed": 60, "cancelled": 60}

    on_one = {scripts.HEARTBEAT.sha}  # a worker's row belongs to no shard
    for script in ALL:
        assert len(store.called[script.sha]) == (1 if script.sha in on_one else 3), script.name


@pytest.mark.parametrize("code", ["redis.call('SET', KEYS[1] .. 'x', 1)", "redis.call('GET', KEYS[1] .. 'x')"])
def test_a_script_that_touches_another_key_is_refused(strict: Strict, code: str) -> None:
    call = ScriptCall(Script("bad", f"#!lua\n{code}", secrets.token_hex(20)), ["{a}b"], [])
    with pytest.raises(ConfigurationRefused, match="lacks a permission"):
        evaluate(strict, [call])


def test_a_call_with_keys_of_two_slots_is_refused(strict: Strict) -> None:
    with pytest.raises(AssertionError, match="several slots"):
        strict.run("EVAL", "#!lua\nreturn 1", 2, "{a}", "{b}")

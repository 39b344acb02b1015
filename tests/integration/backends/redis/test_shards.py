"""Several shards: any mix of IDs in one question, answered in its order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.backends.redis.bed import Bed
from tests.waiting import wait_until
from yadtq_core.model import Status, shard_of
from yadtq_core.testing.contracts.backend_bed import STATS, given_back, outcome, submission
from yadtq_local import LocalValkey


@pytest.fixture
def wide(make_bed: Callable[..., Bed]) -> Bed:
    """A namespace of five shards."""
    return make_bed(shards=5)


def test_a_life_over_several_shards(wide: Bed) -> None:
    ones = wide.submit(60)
    assert {shard_of(one.message.id, 5) for one in ones} == set(range(5))
    wide.backend.confirm([(one.message.id, "0:1") for one in ones])
    answers = wide.claim(ones)
    holds = [wide.hold(one, answer) for one, answer in zip(ones, answers, strict=True)]
    assert wide.backend.extend(holds, wide.worker) == ["ok"] * 60
    assert sorted(wide.backend.held(wide.worker)) == sorted(holds)

    wrong = set(range(0, 60, 7))
    codes = wide.finish(
        *(
            outcome(one.message.id, answer.fence + (number in wrong), result=b"%d" % number)
            for number, (one, answer) in enumerate(zip(ones, answers, strict=True))
        )
    )
    assert codes == ["fenced" if number in wrong else "ok" for number in range(60)]
    records = wide.backend.get([one.message.id for one in ones])
    assert [record.result for record in records if record] == [
        None if number in wrong else b"%d" % number for number in range(60)
    ]
    rest = [(ones[number], answers[number]) for number in sorted(wrong)]
    wide.backend.release([given_back(one.message.id, answer) for one, answer in rest], wide.worker)
    assert {due.id for due in wide.backend.sweep(100, 100)[1]} == {one.message.id for one, _ in rest}
    assert wide.backend.counts().queues == {"default": {"queued": 9}} == wide.scan()
    assert wide.backend.cancel([one.message.id for one, _ in rest], "enough") == ["cancelled"] * 9


def test_the_messages_a_sweep_may_bring_are_counted_over_all_shards(wide: Bed) -> None:
    wide.backend = wide.open(queue_check=0.001)
    ones = wide.submit(40)
    wide.backend.confirm([(one.message.id, "0:1") for one in ones])
    wide.pass_time()
    found = wide.backend.sweep(100, 12)[1]
    assert len(found) == 40
    assert sum(due.delivery is not None for due in found) == 12


def test_every_key_of_a_call_lies_in_one_slot(
    wide: Bed, make_valkey: Callable[..., LocalValkey], namespace: str
) -> None:
    """A Cluster of one node refuses what touches two slots."""
    server = make_valkey(aof=False, port=0, config={"cluster-enabled": "yes"})
    cluster = Bed(server.url, namespace, shards=5)
    cluster.store.run("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_until(lambda: b"cluster_state:ok" in cluster.store.run("CLUSTER", "INFO"), "the cluster is up")
    cluster.backend.check()
    cluster.backend.heartbeat(cluster.worker, STATS, ())
    ones = [*cluster.submit(30), *(wide.submit(10))]
    answers = cluster.claim(ones)
    cluster.finish(*(outcome(one.message.id, answer) for one, answer in zip(ones[:20], answers, strict=False)))
    cluster.backend.release([given_back(ones[20].message.id, answers[20])], cluster.worker)
    lost = cluster.submit(5)
    for one in lost:
        cluster.lost(one)
    cluster.claim(lost)
    cluster.backend.sweep(100, 100)
    cluster.backend.cancel([one.message.id for one in ones], "enough")
    cluster.backend.watch([one.message.id for one in ones], "yadtq:x")
    cluster.backend.messages([one.message.id for one in ones])
    cluster.backend.buried([one.message.id for one in ones])
    cluster.backend.offer([*ones, *wide.submit(3)])
    cluster.backend.workers()
    assert cluster.backend.get([submission().message.id]) == [None]
    assert cluster.record(ones[0]).status is Status.SUCCESS
    cluster.store.close()

"""What one worker of many costs the store: counted in commands and rows, with heartbeats of workers that do not run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from msgspec import structs

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import WorkerIdentity
from yadtq_core.testing.contracts.backend_bed import STATS
from yadtq_core.worker.peers import Peers
from yadtq_core.worker.rules.offers import FreePeers

DEAD, LIVE = 2000, 50
SLOTS = STATS.free


@pytest.fixture
def crowd(own_bed: Bed) -> Bed:
    """A store that 2,000 workers have left without a word within the last hour, and that 50 others use."""
    for number in range(DEAD):
        own_bed.backend.heartbeat(_worker("dead", number), STATS, ())
    ended_ms = own_bed.backend.time_ms() - 60_000
    members = own_bed.store.run("ZRANGE", _list(own_bed), 0, -1)
    for at in range(0, DEAD, 500):
        own_bed.store.run("ZADD", _list(own_bed), *(part for one in members[at : at + 500] for part in (ended_ms, one)))
    own_bed.store.run_many([("HSET", _row(own_bed, one), "last_seen", ended_ms) for one in members])
    for number in range(LIVE):
        own_bed.backend.heartbeat(_worker("live", number), STATS, ())
    return own_bed


def test_a_saturated_worker_reads_the_rows_of_live_workers_and_seldom(
    crowd: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 600, 6))
    monkeypatch.setattr("yadtq_core.worker.peers.time", SimpleNamespace(monotonic=lambda: next(clock) / 10))
    peers = Peers(crowd.backend, _worker("live", 0))
    before = _calls(crowd)
    for _ in range(50):  # a minute of two questions each 1.2 s
        assert FreePeers(peers.online()).slots({("default", "add")}) == (LIVE - 1) * SLOTS
        assert peers.has_loaded("default", "add")
    calls = {name: count - before.get(name, 0) for name, count in _calls(crowd).items()}
    assert calls["zrange"] <= 20
    assert calls["hgetall"] <= 20 * LIVE
    assert len(crowd.backend.workers()) == DEAD + LIVE


def test_a_heartbeat_costs_the_same_among_many_workers(crowd: Bed) -> None:
    worker = _worker("live", 0)
    before = _calls(crowd)
    answer = crowd.backend.heartbeat(worker, STATS, ())
    calls = {name: count - before.get(name, 0) for name, count in _calls(crowd).items()}
    assert sum(calls.values()) <= 12, calls
    assert calls.get("hgetall", 0) == 0
    assert answer.epochs


def test_a_worker_that_goes_offline_is_no_peer(crowd: Bed) -> None:
    peers = Peers(crowd.backend, _worker("live", 0))
    crowd.backend.heartbeat(_worker("live", 1), structs.replace(STATS, state="offline", free=0), ())
    assert FreePeers(peers.online()).slots({("default", "add")}) == (LIVE - 2) * SLOTS


def _worker(kind: str, number: int) -> WorkerIdentity:
    return WorkerIdentity(f"{kind}{number}", f"i{kind}{number}", "host", number + 2, 0.0)


def _list(bed: Bed) -> str:
    return f"yadtq:{{{bed.namespace}}}:workers"


def _row(bed: Bed, member: bytes) -> str:
    return f"yadtq:{{{bed.namespace}}}:worker:{member.decode()}"


def _calls(bed: Bed) -> dict[str, int]:
    """Return how often the server has run each command, those of scripts too."""
    found = bed.store.run("INFO", "commandstats")
    return {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in found.items() if "info" not in name}

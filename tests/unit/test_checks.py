"""The checks of the doctor, one by one: the level and text of each finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from msgspec import structs

from yadtq_core import checks
from yadtq_core.backends.redis import checks as store_checks
from yadtq_core.brokers.kafka import checks as kafka
from yadtq_core.model import Counts, Finding, Level, WorkerIdentity, WorkerRow, WorkerStats, some
from yadtq_core.settings import Settings

MIB = 1024 * 1024
FINE = {"min.insync.replicas": "2", "retention.ms": "604800000", "cleanup.policy": "delete"}


def grave(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Return level and text of each warning and problem; each has a remedy."""
    found = [finding for finding in findings if finding.level is not Level.OK]
    assert all(finding.remedy and "\n" not in finding.found + finding.remedy for finding in found)
    return [(finding.level.value, finding.found) for finding in found]


@pytest.mark.parametrize(
    ("check", "info", "level", "text"),
    [
        (store_checks.role, {"role": "master"}, "ok", "primary"),
        (store_checks.role, {"role": "slave", "master_host": "a", "master_port": 7}, "problem", "read-only replica"),
        (store_checks.eviction, {"maxmemory_policy": "noeviction"}, "ok", "noeviction"),
        (store_checks.eviction, {"maxmemory_policy": "allkeys-lru", "maxmemory": MIB}, "problem", "allkeys-lru"),
        (
            store_checks.eviction,
            {"maxmemory_policy": "allkeys-lru", "maxmemory": 0},
            "warning",
            "evicts records as soon as maxmemory",
        ),
        (store_checks.memory, {"used_memory": MIB, "maxmemory": 4 * MIB}, "ok", "1 of 4 MiB used (25% of maxmemory)"),
        (store_checks.memory, {"used_memory": 8 * MIB, "maxmemory": 10 * MIB}, "warning", "80%"),
        (store_checks.memory, {"used_memory": 9 * MIB, "maxmemory": 10 * MIB}, "problem", "will be refused"),
        (store_checks.memory, {"used_memory": MIB}, "ok", "no limit known"),
        (
            store_checks.memory,
            {"used_memory": 19 * MIB, "total_system_memory": 20 * MIB},
            "problem",
            "machine's memory",
        ),
        (store_checks.clients, {"connected_clients": 5, "maxclients": 100}, "ok", "5 of 100"),
        (store_checks.clients, {"connected_clients": 95, "maxclients": 100}, "warning", "95 of 100"),
    ],
)
def test_the_findings_from_info(check: object, info: Mapping[str, object], level: str, text: str) -> None:
    finding = check(info)  # type: ignore[operator]
    assert (finding.level.value, text in finding.found) == (level, True), finding
    assert bool(finding.remedy) is (level != "ok")


def test_versions_of_the_server() -> None:
    assert store_checks.version({"redis_version": "7.2.4", "valkey_version": "9.1.0"}, 0.001).found.startswith(
        "Valkey 9.1.0"
    )
    assert store_checks.version({"redis_version": "6.2.14"}, 0.001).level is Level.PROBLEM
    assert store_checks.version({"redis_version": "8.0.1"}, 0.5).level is Level.WARNING


@pytest.mark.parametrize(
    ("on", "config", "level"),
    [
        (1, {"appendfsync": "everysec"}, "ok"),
        (1, {}, "ok"),
        (1, {"appendfsync": "no"}, "warning"),
        (0, {"save": ""}, "problem"),
        (0, {"save": "60 1"}, "problem"),
        (0, {}, "problem"),
    ],
)
def test_persistence(on: int, config: Mapping[str, str], level: str) -> None:
    assert store_checks.persistence({"aof_enabled": on}, config).level.value == level


def test_a_failing_disk_and_an_unprotected_store() -> None:
    assert grave(store_checks.disk({"aof_last_write_status": "ok"})) == []
    assert [level for level, _ in grave(store_checks.disk({"aof_last_write_status": "err"}))] == ["problem"]
    open_door = {"bind": "* -::*", "protected-mode": "no", "requirepass": ""}
    assert [level for level, _ in grave(store_checks.exposure(open_door))] == ["warning"]
    for closed in ({"requirepass": "x"}, {"protected-mode": "yes"}, {"bind": "127.0.0.1 -::1"}):
        assert grave(store_checks.exposure(open_door | closed)) == []
    assert grave(store_checks.exposure({})) == []


def topic(name: str = "yadtq.main.default", **changed: Any) -> kafka.Topic:
    return kafka.Topic(name, 8, 3, 0, 0, FINE)._replace(**changed)


def test_topics() -> None:
    asked = Settings(partitions=8)
    assert grave(kafka.partitions(topic(), asked, wanted=True)) == []
    assert grave(kafka.partitions(topic(partitions=9), asked, wanted=True)) == []
    assert grave(kafka.partitions(topic(partitions=4), asked, wanted=True)) == [
        ("problem", "topic yadtq.main.default has 4 partitions, the settings ask for 8")
    ]
    assert [level for level, _ in grave(kafka.partitions(topic(partitions=4), asked, wanted=False))] == ["warning"]
    assert [level for level, _ in grave(kafka.partitions(topic(leaderless=1), asked, wanted=True))] == ["problem"]
    assert [level for level, _ in grave(kafka.partitions(topic(partitions=9), Settings(shards=2), wanted=True))] == [
        "warning"
    ]
    assert list(kafka.partitions(topic("yadtq.main.default.dead", partitions=1), asked, wanted=False)) == []


@pytest.mark.parametrize(
    ("changed", "brokers", "levels"),
    [
        ({}, 3, []),
        ({"replicas": 1, "config": {}}, 1, []),
        ({"replicas": 1}, 3, ["problem"]),
        ({"config": {"min.insync.replicas": "3"}}, 3, ["warning"]),
        ({"config": {"min.insync.replicas": "1"}}, 3, ["warning"]),
        ({"missing": 2}, 3, ["warning"]),
    ],
)
def test_replication(changed: dict[str, Any], brokers: int, levels: list[str]) -> None:
    assert [level for level, _ in grave(kafka.replication(topic(**changed), brokers))] == levels


@pytest.mark.parametrize(
    ("setting", "value", "level"),
    [
        ("unclean.leader.election.enable", "true", "warning"),
        ("max.message.bytes", "1000", "problem"),
        ("cleanup.policy", "compact", "problem"),
        ("retention.ms", "60000", "warning"),
        ("message.timestamp.type", "LogAppendTime", "warning"),
    ],
)
def test_settings_of_a_topic(setting: str, value: str, level: str) -> None:
    assert grave(kafka.configuration(topic(), Settings())) == []
    ((found, text),) = grave(kafka.configuration(topic(config=FINE | {setting: value}), Settings()))
    assert found == level
    assert "topic yadtq.main.default" in text


def test_an_address_on_the_network_without_tls_or_login_is_a_warning() -> None:
    for fine in (
        "redis://localhost",
        "redis://[::1]:6379",
        "unix:///run/x",
        "rediss://u:p@far:1",
        "kafka://127.0.0.2:1",
    ):
        assert grave(checks.exposure("backend", fine, "")) == [], fine
    assert grave(checks.exposure("backend", "redis://far", "")) == [
        ("warning", "backend redis://far is on another machine, with no TLS and no user and password")
    ]
    assert "with no TLS" in grave(checks.exposure("backend", "redis://:secret@far", ""))[0][1]
    assert "secret" not in grave(checks.exposure("backend", "redis://:secret@far", ""))[0][1]
    assert "no user and password" in grave(checks.exposure("broker", "kafka+ssl://near.invalid:1,10.0.0.1:2", ""))[0][1]
    assert grave(checks.exposure("backend", "rediss://far", "secret")) == []
    assert grave(checks.exposure("backend", "redis://LOCALHOST", "")) == []
    assert grave(checks.exposure("backend", "redis://localhost.evil.com", "")) != []


def worker(
    name: str, *, online: bool = True, version: str = "1", queues: Iterable[str] = ("default",), **more: object
) -> WorkerRow:
    stats = WorkerStats("online", 0, 0, 2, 1, tuple(queues), ("add", "mul"), version=version)
    identity = WorkerIdentity(name, str(more), "host", 1, 0.0)
    return WorkerRow(identity, stats, 0.0, online)


NOTHING = Counts({}, {})
WAITING = Counts({"default": {"queued": 2}, "slow": {"queued": 1, "processing": 1}}, {})


def test_workers() -> None:
    assert grave(checks.workers([worker("a")], NOTHING)) == []
    assert grave(checks.workers([], NOTHING)) == [("warning", "no worker is online")]
    assert grave(checks.workers([], WAITING)) == [("problem", "no worker is online, and 3 tasks wait")]
    twins = [worker("a"), worker("a", pid=2)]
    assert grave(checks.workers(twins, NOTHING)) == [("warning", "several workers have the name a")]
    assert grave(checks.workers([worker("a"), worker("b", online=False)], NOTHING)) == [
        ("warning", "b stopped sending heartbeats within the last hour")
    ]
    assert grave(checks.workers([worker("a"), worker("a", online=False)], NOTHING)) == [], "it came back"


def test_dropped_events() -> None:
    fine, slow, gone = worker("a"), worker("b"), worker("c", online=False)
    assert grave(checks.dropped_events([fine])) == []
    stats = structs.replace(slow.stats, events_dropped=12)
    rows = [fine, structs.replace(slow, stats=stats), structs.replace(gone, stats=stats)]
    assert grave(checks.dropped_events(rows)) == [
        ("warning", "b has dropped 12 calls of event hooks, because a plugin is too slow")
    ]


def test_versions_queues_and_tasks() -> None:
    rows = [worker("a"), worker("b", version="2"), worker("c", version="2", online=False)]
    assert grave(checks.versions(rows, "1")) == [("warning", "b runs yadtq 2; this is 1")]
    assert grave(checks.queues(rows, WAITING)) == [("problem", "queue slow holds 1 task, and no worker serves it")]
    assert grave(checks.queues([], WAITING)) == [], "`workers` reports that no worker is online"
    assert grave(checks.tasks(rows, ["add", "mul"])) == []
    assert grave(checks.tasks(rows, ["add", "mul", "mine"])) == [
        ("warning", "no worker has loaded mine, which this installation can submit: it would wait")
    ]
    assert [finding.level for finding in checks.tasks(rows, ["add"])] == [Level.OK]
    other = worker("d")
    other = WorkerRow(other.identity, WorkerStats("online", 0, 0, 2, 1, ("default",), ("add",)), 0.0, True)
    assert ("warning", "task mul is loaded in some workers, but not in d") in grave(
        checks.tasks([*rows, other], ["add"])
    )


def test_numbers_with_their_nouns() -> None:
    assert [some(count, "task") for count in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]

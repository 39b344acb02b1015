"""The checks of a Redis or Valkey that keeps records: the ones it must pass, and the ones that only `doctor` reports.

One list of rules serves both. `require` raises the first problem of REQUIRED, `run_checks` reports every finding. The
checks of the doctor write nothing and scan nothing: they read INFO, CONFIG GET and a few keys of the namespace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from yadtq_core.backends.redis.decoding import counts_of
from yadtq_core.backends.redis.keys import Keys
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.model import Finding, Level, ok, problem, some, warning
from yadtq_core.net.redis_client import Store

FORMAT = 1
"""Version of the keys and fields. Another version would be misread."""
OLDEST = (7, 0)
"""The first Redis with script flags. Valkey 7.2 reports itself as Redis 7.2.4 in this field."""
NEARLY_FULL, HALF_FULL = 0.9, 0.75
"""Fractions of maxmemory: at the first, submits will soon be refused; at the second, plan for more memory."""
SLOW_ANSWER = 0.25
"""Seconds. Each task costs three round trips, so a slower Redis limits every worker."""
SAME_TIME = 5.0
"""Seconds by which two clocks may differ before a warning: NTP and a slow answer explain that much."""
OVERDUE = 60.0
"""Seconds. A sweep runs every second, so nothing is overdue for this long while a worker is online."""
_MIB = 1024 * 1024


def require(store: Store, keys: Keys, namespace: str) -> None:
    """Raise ConfigurationRefused for the first problem that endangers records; BackendUnavailable if unreachable.

    Writes format and shards if the namespace is new.
    """
    info: dict[str, Any] = store.run("INFO")
    for check in REQUIRED:
        _refuse(check(info))
    store.run("HSETNX", keys.meta, "format", FORMAT)
    store.run("HSETNX", keys.meta, "shards", len(keys.shards))
    _refuse(layout(store, keys, namespace))


def run_checks(store: Store, keys: Keys, namespace: str) -> Iterator[Finding]:
    """Yield all findings. Raises BackendUnavailable, ConfigurationRefused."""
    began = time.monotonic()
    store.run("PING")
    took = time.monotonic() - began
    info: dict[str, Any] = store.run("INFO")
    yield version(info, took)
    yield role(info)
    if info.get("loading"):
        yield problem(
            "redis", "Redis is still loading its data and refuses every other command", "wait until it is done"
        )
        return
    config = _config(store)
    yield persistence(info, config)
    yield from disk(info)
    yield eviction(info)
    yield memory(info)
    yield clients(info)
    yield from exposure(config)
    yield clock(store, keys)
    yield layout(store, keys, namespace)
    yield open_tasks(store, keys)


def _refuse(finding: Finding) -> None:
    if finding.level is Level.PROBLEM:
        raise ConfigurationRefused(f"{finding.found}: {finding.remedy}")


def _config(store: Store) -> Mapping[str, str]:
    """Return the answer of CONFIG GET; empty if the server forbids it, as many hosted ones do."""
    try:
        found = store.run("CONFIG GET", "save", "appendfsync", "protected-mode", "bind", "requirepass")
    except ConfigurationRefused:
        return {}
    return {str(name): str(value) for name, value in found.items()}


def version(info: Mapping[str, Any], took: float | None = None) -> Finding:
    """Check the version, and the seconds that an answer took if they are given."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    number = str(info.get("valkey_version") or info.get("redis_version", "0"))
    if tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2]) < OLDEST:
        return problem("redis", f"{name} {number} is too old", "install Redis 7.0 or Valkey 7.2, or a newer version")
    if took is None:
        return ok("redis", f"{name} {number}")
    found = f"{name} {number} answers in {took * 1000:.1f} ms"
    if took > SLOW_ANSWER:
        remedy = "run workers and clients closer to Redis: each task costs three round trips"
        return warning("redis", found, remedy)
    return ok("redis", found)


def role(info: Mapping[str, Any]) -> Finding:
    """Check that the server takes writes."""
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        return problem("role", "this Redis is a read-only replica", f"use the address of its primary, {primary}")
    return ok("role", f"a primary with {some(int(info.get('connected_slaves', 0)), 'replica')}")


def persistence(info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    """Check what a restart would keep."""
    remedy = "redis-cli CONFIG SET appendonly yes, and `appendonly yes` in redis.conf"
    if not info.get("aof_enabled"):
        saves = config.get("save")
        if saves == "":
            return problem("persistence", "nothing is written to disk: a restart loses every record and result", remedy)
        snapshots = "after a crash only the last snapshot is left" + (f" (save {saves})" if saves else "")
        return problem("persistence", f"appendonly is off: {snapshots}", remedy)
    fsync = config.get("appendfsync")
    if fsync == "no":
        found = "appendonly is on, but appendfsync is no: a power loss may lose half a minute of results"
        return warning("persistence", found, "redis-cli CONFIG SET appendfsync everysec")
    return ok("persistence", "appendonly is on" + (f", appendfsync {fsync}" if fsync else ""))


def disk(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a problem for each kind of write to disk that failed last time."""
    for field in ("aof_last_write_status", "rdb_last_bgsave_status", "aof_last_bgrewrite_status"):
        if info.get(field, "ok") != "ok":
            yield problem("disk", f"Redis could not write to its disk ({field})", "free space there, and read its log")


def eviction(info: Mapping[str, Any]) -> Finding:
    """Check that the server never evicts records."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return ok("eviction", "maxmemory-policy is noeviction")
    remedy = "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf"
    if int(info.get("maxmemory", 0)) > 0:
        return problem("eviction", f"Redis may evict records: maxmemory-policy is {policy}", remedy)
    return warning(
        "eviction", f"maxmemory-policy is {policy}: Redis evicts records as soon as maxmemory is set", remedy
    )


def memory(info: Mapping[str, Any]) -> Finding:
    """Check how much memory is left."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    what, remedy = "maxmemory", "raise maxmemory, or shorten result_ttl"
    if not limit:
        limit = int(info.get("total_system_memory", 0))
        what, remedy = "the machine's memory, as maxmemory is not set", "add memory, or shorten result_ttl"
    if not limit:
        return ok("memory", f"{used / _MIB:.0f} MiB used, no limit known")
    share = used / limit
    found = f"{used / _MIB:.0f} of {limit / _MIB:.0f} MiB used ({share:.0%} of {what})"
    if share >= NEARLY_FULL:
        return problem("memory", f"{found}: submits will be refused when it is full", remedy)
    return warning("memory", found, remedy) if share >= HALF_FULL else ok("memory", found)


def clients(info: Mapping[str, Any]) -> Finding:
    """Check how many more clients may connect."""
    connected, limit = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    found = f"{connected} of {limit} clients connected" if limit else f"{some(connected, 'client')} connected"
    if limit and connected >= NEARLY_FULL * limit:
        return warning("clients", found, "redis-cli CONFIG SET maxclients, and in redis.conf")
    return ok("clients", found)


def exposure(config: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a warning if every machine on its network has full access."""
    everywhere = any(part not in ("127.0.0.1", "::1", "-::1") for part in config.get("bind", "127.0.0.1").split())
    if config.get("protected-mode") == "no" and config.get("requirepass") == "" and everywhere:
        found = f"it listens on {config['bind']} with protected-mode off and no password for the default user"
        yield warning("redis-access", found, "redis-cli CONFIG SET requirepass …, or bind 127.0.0.1")


def clock(store: Store, keys: Keys) -> Finding:
    """Compare Redis's clock with this machine's, and with the highest time that a heartbeat recorded."""
    seconds, microseconds = store.run("TIME")
    now = int(seconds) + int(microseconds) / 1e6
    ahead = now - time.time()
    marks = store.run_many([("HGET", shard.epoch, "mark") for shard in keys.shards])
    behind = max((int(mark) for mark in marks if isinstance(mark, bytes)), default=0) / 1000 - now
    if behind > 1.0:
        found = f"Redis's clock was set back by {behind:.0f} s: leases of dead workers end that much later"
        return problem("clock", found, "correct the clock of Redis's machine (NTP)")
    if abs(ahead) > SAME_TIME:
        found = f"Redis's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
        return warning(
            "clock", f"{found}; yadtq shows Redis's times, and decides nothing by this machine's", "use NTP on both"
        )
    return ok("clock", f"Redis's clock and this machine's differ by {abs(ahead):.1f} s")


def layout(store: Store, keys: Keys, namespace: str) -> Finding:
    """Compare format and shards of the namespace with this version and the settings."""
    found = store.run("HMGET", keys.meta, "format", "shards")
    if None in found:
        return ok("namespace", f"namespace {namespace} is new: nothing has been written yet")
    format_, shards = (int(value) for value in found)
    if format_ != FORMAT:
        text = f"namespace {namespace} has format {format_}, this yadtq reads {FORMAT}"
        return problem("namespace", text, "use the yadtq version that wrote it, or another namespace")
    if shards != len(keys.shards):
        text = f"namespace {namespace} is spread over {some(shards, 'shard')}, the settings say {len(keys.shards)}"
        return problem("namespace", text, f"set shards = {shards}, or use another namespace")
    return ok("namespace", f"namespace {namespace}: format {format_}, {some(shards, 'shard')}")


def open_tasks(store: Store, keys: Keys) -> Finding:
    """Check how many tasks are unfinished, and if a sweep is overdue."""
    now_ms = int(store.run("TIME")[0]) * 1000
    counts = counts_of(store.sound([("HGETALL", shard.counts) for shard in keys.shards]))
    timed = [name for shard in keys.shards for name in (shard.open, shard.scheduled)]
    firsts = store.sound([("ZRANGE", name, 0, 0, "WITHSCORES") for name in timed])
    count = sum(number for by in counts.queues.values() for number in by.values())
    due = [float(first[1]) for first in firsts if first]
    late = (now_ms - min(due)) / 1000 if due else 0.0
    found = f"{some(count, 'task')} open"
    if late > OVERDUE:
        remedy = "start a worker: each one sweeps every second; if one is online, read its log"
        return warning("open", f"{found}; the most overdue one has waited {_age(late)} for a sweep", remedy)
    return ok("open", f"{found}, none overdue")


REQUIRED: tuple[Callable[[Mapping[str, Any]], Finding], ...] = (version, role, eviction)
"""Checks of INFO whose problem refuses the start of a client or worker: records would be lost or misread."""


def _age(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"

"""What there is to say of a Redis or Valkey that carries records: the checks behind `yadtq doctor`.

Nothing is written, and nothing scanned: INFO, CONFIG GET, and a few keys of the namespace.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yadtq_core.backends.redis.keys import Keys
from yadtq_core.backends.redis.store_check import FORMAT, too_old
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.findings import Finding, ok, problem, some, warning
from yadtq_core.net.redis_client import Store

NEARLY_FULL, HALF_FULL = 0.9, 0.75
"""Of maxmemory: from there on submits will soon be refused; from there on more memory should be found."""
SAME_TIME = 5.0
"""Seconds by which two clocks may differ without a word: within what NTP and a slow answer explain."""
OVERDUE = 60.0
"""Seconds: sweeps come every second, so that nothing waits for one so long while a worker is online."""
_MIB = 1024 * 1024


def look(store: Store, keys: Keys, namespace: str) -> Iterator[Finding]:
    """Yield all findings. Raises BackendUnavailable, ConfigurationRefused."""
    began = time.monotonic()
    store.run("PING")
    took = time.monotonic() - began
    info: dict[str, Any] = store.run("INFO")
    yield version(info, took)
    yield role(info)
    if info.get("loading"):
        yield problem("redis", "Redis is still loading its data: it refuses everything else", "wait until it is done")
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


def _config(store: Store) -> Mapping[str, str]:
    """Return what CONFIG GET tells; nothing where it is not allowed, as with many hosted ones."""
    try:
        found = store.run("CONFIG GET", "save", "appendfsync", "protected-mode", "bind", "requirepass")
    except ConfigurationRefused:
        return {}
    return {str(name): str(value) for name, value in found.items()}


def version(info: Mapping[str, Any], took: float) -> Finding:
    """Say what it is, and how fast it answered."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    number = str(info.get("valkey_version") or info.get("redis_version", "0"))
    found = f"{name} {number} answers in {took * 1000:.1f} ms"
    if too_old(str(info.get("redis_version", "0"))):
        return problem("redis", f"{found}: too old", "install Redis 7.0 or Valkey 7.2, or a newer one")
    if took > 0.25:
        return warning("redis", found, "bring workers, clients and Redis closer together: every task asks it thrice")
    return ok("redis", found)


def role(info: Mapping[str, Any]) -> Finding:
    """Say whether it takes writes."""
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        return problem("role", "it is a read-only replica", f"use the address of its primary, {primary}")
    return ok("role", f"a primary with {some(int(info.get('connected_slaves', 0)), 'replica')}")


def persistence(info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    """Say what a restart would leave."""
    remedy = "redis-cli CONFIG SET appendonly yes, and `appendonly yes` in redis.conf"
    if not info.get("aof_enabled"):
        saves = config.get("save")
        if saves == "":
            return problem("persistence", "nothing is kept on disk: a restart loses every record and result", remedy)
        snapshots = "the last snapshot is all that a crash leaves" + (f" (save {saves})" if saves else "")
        return problem("persistence", f"appendonly is off: {snapshots}", remedy)
    fsync = config.get("appendfsync")
    if fsync == "no":
        found = "appendonly is on, but appendfsync is no: a power loss may take half a minute of results"
        return warning("persistence", found, "redis-cli CONFIG SET appendfsync everysec")
    return ok("persistence", "appendonly is on" + (f", appendfsync {fsync}" if fsync else ""))


def disk(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a problem where the last write to disk failed."""
    for field in ("aof_last_write_status", "rdb_last_bgsave_status", "aof_last_bgrewrite_status"):
        if info.get(field, "ok") != "ok":
            yield problem("disk", f"Redis could not write to its disk ({field})", "free space there, and see its log")


def eviction(info: Mapping[str, Any]) -> Finding:
    """Say whether it may throw records away."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return ok("eviction", "maxmemory-policy is noeviction")
    remedy = "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf"
    if int(info.get("maxmemory", 0)) > 0:
        return problem("eviction", f"Redis may throw records away: maxmemory-policy is {policy}", remedy)
    return warning("eviction", f"maxmemory-policy is {policy}: as soon as maxmemory is set, records go", remedy)


def memory(info: Mapping[str, Any]) -> Finding:
    """Say how much room there is."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    what, remedy = "maxmemory", "raise maxmemory, or shorten result_ttl"
    if not limit:
        limit = int(info.get("total_system_memory", 0))
        what, remedy = "the machine's memory, as maxmemory is not set", "give it more memory, or shorten result_ttl"
    if not limit:
        return ok("memory", f"{used / _MIB:.0f} MiB used, no limit known")
    share = used / limit
    found = f"{used / _MIB:.0f} of {limit / _MIB:.0f} MiB used ({share:.0%} of {what})"
    if share >= NEARLY_FULL:
        return problem("memory", f"{found}: submits will be refused when it is full", remedy)
    return warning("memory", found, remedy) if share >= HALF_FULL else ok("memory", found)


def clients(info: Mapping[str, Any]) -> Finding:
    """Say how many more may connect."""
    connected, limit = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    found = f"{connected} of {limit} clients connected" if limit else f"{some(connected, 'client')} connected"
    if limit and connected >= NEARLY_FULL * limit:
        return warning("clients", found, "redis-cli CONFIG SET maxclients, and in redis.conf")
    return ok("clients", found)


def exposure(config: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a warning where anybody on its network may do anything."""
    everywhere = any(part not in ("127.0.0.1", "::1", "-::1") for part in config.get("bind", "127.0.0.1").split())
    if config.get("protected-mode") == "no" and config.get("requirepass") == "" and everywhere:
        found = f"it listens on {config['bind']} with protected-mode off and no password for the default user"
        yield warning("redis-access", found, "redis-cli CONFIG SET requirepass …, or bind 127.0.0.1")


def clock(store: Store, keys: Keys) -> Finding:
    """Compare Redis's clock with this machine's, and with the highest time that a heartbeat has recorded."""
    seconds, microseconds = store.run("TIME")
    now = int(seconds) + int(microseconds) / 1e6
    ahead = now - time.time()
    marks = store.run_many([("HGET", shard.epoch, "mark") for shard in keys.shards])
    behind = max((int(mark) for mark in marks if isinstance(mark, bytes)), default=0) / 1000 - now
    if behind > 1.0:
        found = f"Redis's clock has gone back by {behind:.0f} s: tasks of dead workers are taken over so much later"
        return problem("clock", found, "set the clock of Redis's machine right (NTP)")
    if abs(ahead) > SAME_TIME:
        found = f"Redis's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
        return warning("clock", f"{found}; no decision depends on it, times are shown by Redis's", "use NTP on both")
    return ok("clock", f"Redis's clock and this machine's differ by {abs(ahead):.1f} s")


def layout(store: Store, keys: Keys, namespace: str) -> Finding:
    """Compare format and shards of the namespace with ours."""
    found = store.run("HMGET", keys.meta, "format", "shards")
    if None in found:
        return ok("namespace", f"namespace {namespace} is new: nothing has been written yet")
    format_, shards = (int(value) for value in found)
    if format_ != FORMAT:
        text = f"namespace {namespace} has format {format_}, this yadtq reads {FORMAT}"
        return problem("namespace", text, "use the yadtq that wrote it, or another namespace")
    if shards != len(keys.shards):
        text = f"namespace {namespace} is spread over {some(shards, 'shard')}, the settings say {len(keys.shards)}"
        return problem("namespace", text, f"set shards = {shards}, or use another namespace")
    return ok("namespace", f"namespace {namespace}: format {format_}, {some(shards, 'shard')}")


def open_tasks(store: Store, keys: Keys) -> Finding:
    """Say how many tasks somebody must still look at, and how late the latest of these looks is."""
    now_ms = int(store.run("TIME")[0]) * 1000
    sizes: Sequence[Any] = store.run_many([("ZCARD", shard.open) for shard in keys.shards])
    firsts = store.run_many([("ZRANGE", shard.open, 0, 0, "WITHSCORES") for shard in keys.shards])
    count = sum(size for size in sizes if isinstance(size, int))
    due = [float(first[1]) for first in firsts if isinstance(first, list) and first]
    late = (now_ms - min(due)) / 1000 if due else 0.0
    found = f"{some(count, 'task')} unfinished or unburied"
    if late > OVERDUE:
        remedy = "start a worker: each sweeps every second; if one is online, see its log"
        return warning("open", f"{found}, and the most overdue has waited {_age(late)} to be looked at", remedy)
    return ok("open", f"{found}, none overdue")


def _age(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"

"""Whether a Redis, as it stands, can carry records safely: version, role, eviction, format, shards."""

from __future__ import annotations

from typing import Any

from yadtq_core.backends.redis.keys import Keys
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.net.redis_client import Store

FORMAT = 1
"""Of keys and fields. Another one would be read wrongly."""
OLDEST = (7, 0)
"""Scripts with flags. Valkey 7.2 calls itself Redis 7.2.4 here."""


def check_store(store: Store, keys: Keys, namespace: str) -> None:
    """Raise BackendUnavailable or ConfigurationRefused unless the store will do; writes format and shards once."""
    _check_server(store.run("INFO"))
    _check_format(store, keys, namespace)


def too_old(version: str) -> bool:
    """Return whether a server that calls itself so lacks what the scripts need."""
    return tuple(int(part) for part in version.split(".")[:2]) < OLDEST


def _check_server(info: dict[str, Any]) -> None:
    version = str(info.get("redis_version", "0"))
    if too_old(version):
        raise ConfigurationRefused(f"Redis {version} is too old: yadtq needs Redis 7.0 or Valkey 7.2")
    if info.get("role") == "slave":
        raise ConfigurationRefused("this Redis is a replica: use the address of its primary")
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if int(info.get("maxmemory", 0)) > 0 and policy != "noeviction":
        raise ConfigurationRefused(
            f"Redis may throw records away (maxmemory-policy is {policy}): "
            "redis-cli CONFIG SET maxmemory-policy noeviction"
        )


def _check_format(store: Store, keys: Keys, namespace: str) -> None:
    shards = len(keys.shards)
    store.run("HSETNX", keys.meta, "format", FORMAT)
    store.run("HSETNX", keys.meta, "shards", shards)
    found = [int(value or 0) for value in store.run("HMGET", keys.meta, "format", "shards")]
    if found[0] != FORMAT:
        raise ConfigurationRefused(
            f"namespace {namespace} has format {found[0]}, this yadtq reads {FORMAT}: use the yadtq that wrote it"
        )
    if found[1] != shards:
        raise ConfigurationRefused(
            f"namespace {namespace} is spread over {found[1]} shards, the settings say {shards}: "
            f"set shards = {found[1]}, or use another namespace"
        )

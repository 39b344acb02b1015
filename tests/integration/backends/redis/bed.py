"""A namespace of a real Redis, looked at from both sides: through backends, and behind their back."""

from __future__ import annotations

from collections import Counter
from typing import Any

from yadtq_core.backends.redis.backend import RedisBackend
from yadtq_core.model import Delivery, shard_of
from yadtq_core.net.redis_client import open_store
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import BackendBed

INDEXES = {"open", "scheduled", "ready", "waiting"}
LEFT_TO_STAND = {"counts", "epoch", "workers", "meta"}


class Bed(BackendBed):
    """One namespace; its backends share a store and differ in their settings."""

    def __init__(self, url: str, namespace: str, shards: int = 1) -> None:
        self.url, self.namespace, self.shards = url, namespace, shards
        self.store = open_store(url)
        usual: dict[str, Any] = {"namespace": namespace, "shards": shards}
        super().__init__(lambda **given: RedisBackend(self.store, Settings(**(usual | given))))

    def key(self, kind: str, one: Delivery | str) -> str:
        """Return the key of a record (`task`) or message (`message`)."""
        task_id = one if isinstance(one, str) else one.message.id
        return f"yadtq:{{{self.namespace}:{shard_of(task_id, self.shards)}}}:{kind}:{task_id}"

    def shard_key(self, kind: str, shard: int = 0) -> str:
        """Return one of a shard's own keys."""
        return f"yadtq:{{{self.namespace}:{shard}}}:{kind}"

    def score(self, one: Delivery | str, index: str = "open") -> int | None:
        """Return its score in an index (`open`, `ready:default`, …), None if it is not there."""
        task_id = one if isinstance(one, str) else one.message.id
        found = self.store.run("ZSCORE", self.shard_key(index, shard_of(task_id, self.shards)), task_id)
        return None if found is None else int(found)

    def indexes(self, one: Delivery | str) -> dict[str, int]:
        """Return the indexes in which it is, with its scores; of all queues."""
        names = {name.split("}:", 1)[1] for name in self.names()}
        kinds = {name for name in names if name.partition(":")[0] in INDEXES}
        scores = {kind: self.score(one, kind) for kind in sorted(kinds)}
        return {kind: score for kind, score in scores.items() if score is not None}

    def fields(self, one: Delivery | str) -> dict[str, str]:
        """Return a record's hash."""
        return {
            name.decode(): value.decode() for name, value in self.store.run("HGETALL", self.key("task", one)).items()
        }

    def names(self) -> list[str]:
        """Return every key of the namespace."""
        found: list[str] = []
        cursor = 0
        while True:
            cursor, some = self.store.run("SCAN", cursor, "MATCH", f"yadtq:{{{self.namespace}*", "COUNT", 1000)
            found += [name.decode() for name in some]
            if int(cursor) == 0:
                return sorted(set(found))

    def lose_everything(self) -> None:
        """What FLUSHALL does, to this namespace only."""
        for name in self.names():
            self.store.run("DEL", name)

    def scan(self) -> dict[str, dict[str, int]]:
        """Return unfinished records by queue and status, counted one by one."""
        found: dict[str, Counter[str]] = {}
        for name in self.names():
            if ":task:" in name:
                status, queue = (part and part.decode() for part in self.store.run("HMGET", name, "st", "qu"))
                if status in ("queued", "scheduled", "processing"):
                    found.setdefault(queue or "default", Counter())[status] += 1
        return {queue: dict(by) for queue, by in found.items()}

"""The Lua scripts of the raw side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

import redis


@cache
def source(name: str) -> str:
    """Return the text of a script."""
    return (Path(__file__).parent / "lua" / f"{name}.lua").read_text("utf-8")


class Store:
    """The records of the raw side, under keys that begin with `prefix`."""

    def __init__(self, url: str, prefix: str) -> None:
        self.prefix = prefix
        self.client = redis.Redis.from_url(url, protocol=2)
        self._execute: Callable[..., Any] = self.client.execute_command
        self._open = f"{prefix}open"

    def create(self, task: str, ids: Sequence[str], messages: Sequence[bytes]) -> int:
        """Write queued records; return the store's time in ms."""
        keys = [self._open, *self._tasks(ids), *self._messages(ids)]
        return int(self._call("create", keys, [task, GRACE_MS, *messages]))

    def confirm(self, ids: Sequence[str], positions: Sequence[str], look_at_ms: int) -> None:
        """Store the positions of the messages."""
        self._call("confirm", [self._open, *self._tasks(ids)], [look_at_ms, *positions])

    def claim(self, ids: Sequence[str]) -> list[bytes]:
        """Return the fence of each."""
        fences: list[bytes] = self._call("claim", [self._open, *self._tasks(ids)], ["by-hand", LEASE_MS])
        return fences

    def finish(self, ids: Sequence[str], fences: Sequence[bytes], results: Sequence[bytes]) -> int:
        """Write the results; return how many were accepted."""
        outcomes = [part for outcome in zip(fences, results, strict=True) for part in outcome]
        keys = [self._open, *self._tasks(ids), *self._messages(ids)]
        return int(self._call("finish", keys, [TTL_MS, *outcomes]))

    def answer(self, task_id: str, channel: str, result: bytes) -> None:
        """Write one result and push the ID."""
        self._call("answer", [f"{self.prefix}task:{task_id}", channel], [task_id, result, TTL_MS])

    def subscription(self, channel: str) -> Any:
        """Return a subscription of a channel, as redis-py's PubSub."""
        client: Any = self.client
        pushed = client.pubsub(ignore_subscribe_messages=True)
        pushed.subscribe(channel)
        return pushed

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _tasks(self, ids: Sequence[str]) -> list[str]:
        prefix = f"{self.prefix}task:"
        return [prefix + task_id for task_id in ids]

    def _messages(self, ids: Sequence[str]) -> list[str]:
        prefix = f"{self.prefix}message:"
        return [prefix + task_id for task_id in ids]

    def _call(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        try:
            return self._execute("EVALSHA", _sha(name), len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            return self._execute("EVAL", source(name), len(keys), *keys, *arguments)


GRACE_MS = 10_000
LEASE_MS = 15_000
TTL_MS = 86_400_000
"""yadtq's defaults, so that both sides keep the same data for the same time."""


@cache
def _sha(name: str) -> str:
    return sha1(source(name).encode(), usedforsecurity=False).hexdigest()

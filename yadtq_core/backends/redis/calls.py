"""Calls for many IDs: one for each shard, queue and 200 IDs; hashes in bulk; answers in the order of the IDs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from yadtq_core.backends.redis.keys import ShardKeys
from yadtq_core.errors import YadtqError
from yadtq_core.model import shard_of
from yadtq_core.net.redis_client import Store
from yadtq_core.net.redis_scripts import BATCH, Script, ScriptCall, evaluate

READ_AT_ONCE = 500
"""Hashes in one round trip."""

T = TypeVar("T")


class Part(NamedTuple):
    """IDs of one shard and queue, and their indexes in the question."""

    shard: ShardKeys
    queue: str
    indexes: Sequence[int]
    ids: Sequence[str]

    @property
    def heads(self) -> list[str]:
        """The keys with which a script that changes records begins."""
        return self.shard.heads(self.queue)

    def of(self, asked: Sequence[T]) -> Sequence[T]:
        """Return the elements of a question that belong to these IDs."""
        return [asked[index] for index in self.indexes]

    def call(self, script: Script, heads: list[str], arguments: list[Any], *, messages: bool = False) -> ScriptCall:
        """Return the call of a script whose keys are `heads`, then each task key, then each message key if wanted."""
        names = heads + self.shard.tasks(self.ids)
        return ScriptCall(script, names + self.shard.messages(self.ids) if messages else names, arguments)


class Calls:
    """The calls of one backend."""

    def __init__(self, store: Store, shards: Sequence[ShardKeys]) -> None:
        self._store = store
        self.shards = shards

    def ask(
        self, ids: Sequence[str], queues: Sequence[str], call: Callable[[Part], ScriptCall]
    ) -> list[tuple[Part, list[Any]]]:
        """Send one call for each part, all together; return each part with its answer.

        queues: that of each ID, or none for a script that uses no index of a queue.
        """
        parts = self._parts(ids, queues)
        if not parts:
            return []
        return list(zip(parts, evaluate(self._store, [call(part) for part in parts]), strict=True))

    def answers(
        self,
        ids: Sequence[str],
        queues: Sequence[str],
        call: Callable[[Part], ScriptCall],
        read: Callable[[list[Any]], list[T]],
    ) -> list[T]:
        """Ask, and return what `read` makes of the answers, in the order of the IDs."""
        return in_order(len(ids), self.ask(ids, queues, call), read)

    def answers_and_orphans(
        self,
        ids: Sequence[str],
        queues: Sequence[str],
        call: Callable[[Part], ScriptCall],
        read: Callable[[list[Any]], list[T]],
        at: int,
    ) -> list[T]:
        """As `answers`, for a script whose answer has at `at` the orphans: lines that other workers no longer hold."""
        asked = self.ask(ids, queues, call)
        for part, answer in asked:
            self.remove_orphans(part.shard, answer[at])
        return in_order(len(ids), asked, read)

    def remove_orphans(self, shard: ShardKeys, orphans: Sequence[bytes]) -> None:
        """Remove these (incarnation, ID, …) from the lists `held`. May fail: the lists are hints, and fences decide."""
        if orphans:
            pairs = zip(orphans[::2], orphans[1::2], strict=True)
            with suppress(YadtqError):
                self._store.run_many([("HDEL", shard.held + worker.decode(), task) for worker, task in pairs])

    def hashes(self, names: Sequence[str]) -> list[Any]:
        """Return the hashes with these keys; an error of the server stands in place of its hash."""
        return self._read([("HGETALL", name) for name in names])

    def fields(self, names: Sequence[str], field: str) -> list[Any]:
        """Return one field of each hash with these keys; an error of the server stands in place of its value."""
        return self._read([("HGET", name, field) for name in names])

    def _read(self, commands: Sequence[tuple[str, ...]]) -> list[Any]:
        return [
            answer
            for start in range(0, len(commands), READ_AT_ONCE)
            for answer in self._store.run_many(commands[start : start + READ_AT_ONCE])
        ]

    def sound_hashes(self, names: Sequence[str]) -> list[dict[bytes, bytes]]:
        """Return the hashes with these keys; raise the first error."""
        return [
            answer
            for start in range(0, len(names), READ_AT_ONCE)
            for answer in self._store.sound([("HGETALL", name) for name in names[start : start + READ_AT_ONCE]])
        ]

    def queues(self, ids: Sequence[str]) -> list[str]:
        """Return the queue of each ID's record; that of a missing or damaged one does not matter."""
        shards = self.shards
        names = [shards[shard_of(each, len(shards))].task + each for each in ids]
        found = self.fields(names, "qu")
        return [queue.decode(errors="replace") if isinstance(queue, bytes) else "default" for queue in found]

    def _parts(self, ids: Sequence[str], queues: Sequence[str]) -> list[Part]:
        shards = self.shards
        if len(shards) == 1 and len(set(queues)) <= 1:
            whole, queue = range(len(ids)), queues[0] if queues else ""
            slices = (whole[start : start + BATCH] for start in range(0, len(ids), BATCH))
            return [Part(shards[0], queue, part, ids[part.start : part.stop]) for part in slices]
        sorted_: dict[tuple[int, str], list[int]] = {}
        for index, task_id in enumerate(ids):
            place = (shard_of(task_id, len(shards)), queues[index] if queues else "")
            sorted_.setdefault(place, []).append(index)
        return [
            Part(shards[shard], queue, part, [ids[index] for index in part])
            for (shard, queue), indexes in sorted_.items()
            for part in (indexes[start : start + BATCH] for start in range(0, len(indexes), BATCH))
        ]


def in_order(length: int, asked: Sequence[tuple[Part, list[Any]]], read: Callable[[list[Any]], list[T]]) -> list[T]:
    """Return the answers of all parts in the order of the question."""
    if len(asked) == 1:
        return read(asked[0][1])
    found: dict[int, T] = {}
    for part, answer in asked:
        found.update(zip(part.indexes, read(answer), strict=True))
    return [found[index] for index in range(length)]

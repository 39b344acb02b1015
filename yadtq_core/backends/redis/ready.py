"""The reads and writes of the indexes: sweep, take, recover, and the highest waiting offset.

Each reads IDs from an index first, and then calls a script that names the keys of these IDs and looks again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from yadtq_core.backends.redis import script_io, scripts
from yadtq_core.backends.redis.calls import Calls, Part
from yadtq_core.backends.redis.keys import ShardKeys
from yadtq_core.model import Delivery, Due, Epoch, Sweep, Taken
from yadtq_core.model.terms import HEADS, LONGEST_CHECK_MS, OFFSETS, PARTITIONS, TAKE_BYTES, TAKEN_MS
from yadtq_core.net.redis_client import Store
from yadtq_core.net.redis_scripts import ScriptCall, evaluate
from yadtq_core.wire import envelope


def swept(store: Store, calls: Calls, limit: int, queues: Sequence[str], limits: Sequence[int]) -> Sweep:
    """Return what `sweep` answers. limits: publish grace (ms), lost limit, result TTL (ms)."""

    def due_of(shard: ShardKeys) -> ScriptCall:
        ready_keys = [shard.ready + queue for queue in queues]
        return ScriptCall(scripts.DUE, [shard.open, shard.scheduled, *ready_keys], [limit])

    def call(part: Part) -> ScriptCall:
        return part.call(scripts.SWEEP, part.heads, [*limits, LONGEST_CHECK_MS], messages=True)

    due = evaluate(store, [due_of(shard) for shard in calls.shards])
    ready = {queue: sum(answer[2][number] for answer in due) for number, queue in enumerate(queues)}
    ids = [task_id.decode() for answer in due for task_id in answer[1]]
    reclaimed: list[Due] = []
    failed: list[Due] = []
    for part, answer in calls.ask(ids, calls.queues(ids), call):
        calls.remove_orphans(part.shard, answer[0])
        if part.queue in ready:
            ready[part.queue] += answer[1]
        lost, dead = script_io.swept_in(part.ids, answer)
        reclaimed += lost
        failed += dead
    return Sweep(due[0][0], reclaimed, failed, ready, more=any(len(answer[1]) >= limit for answer in due))


def taken(store: Store, shards: Sequence[ShardKeys], wanted: Mapping[str, int], elsewhere: Collection[str]) -> Taken:
    """Return what `take` answers. The shards are asked in this order, each for its share of what is still wanted."""
    room = TAKE_BYTES
    deliveries: list[Delivery] = []
    ready: dict[str, int] = {}
    alone = True
    for queue, heads, sizes in _heads(store, shards, wanted, elsewhere):
        left = wanted[queue]
        for number, part in enumerate(heads):
            share = -(-left // (len(heads) - number))
            if share <= 0 or room <= 0:
                break
            limits = [share, room, int(alone), TAKEN_MS, LONGEST_CHECK_MS, envelope.VERSION]
            call = part.call(scripts.TAKE, part.heads, [*limits, *elsewhere], messages=True)
            sizes[part.shard], *bodies = evaluate(store, [call])[0]
            left -= len(bodies) // 2
            room -= sum(len(body) for body in bodies[1::2])
            alone = alone and not bodies
            deliveries += script_io.taken_in(bodies)
        ready[queue] = sum(sizes.values())
    return Taken(deliveries, ready)


def _heads(
    store: Store, shards: Sequence[ShardKeys], wanted: Mapping[str, int], elsewhere: Collection[str]
) -> Iterator[tuple[str, list[Part], dict[ShardKeys, int]]]:
    """Yield each queue with the longest ready IDs of each shard that has some, and how many each shard has."""
    places = [(queue, shard) for queue in wanted for shard in shards]
    commands: list[tuple[Any, ...]] = []
    for queue, shard in places:
        looked_at = HEADS if elsewhere else min(HEADS, wanted[queue])
        commands += [("ZCARD", shard.ready + queue), ("ZRANGE", shard.ready + queue, 0, max(looked_at, 1) - 1)]
    answers = store.sound(commands) if commands else []
    for start in range(0, len(places), len(shards)):
        queue = places[start][0]
        found = list(zip(shards, answers[2 * start :: 2], answers[2 * start + 1 :: 2], strict=False))
        parts = [Part(shard, queue, (), [one.decode() for one in ids]) for shard, _, ids in found if ids]
        yield queue, parts, {shard: size for shard, size, _ in found}


def recovered(
    store: Store,
    shards: Sequence[ShardKeys],
    queue: str,
    ranges: Sequence[tuple[int, int, int]],
    epochs: Sequence[Epoch],
) -> int:
    """Return how many records `recover` has made ready."""
    known = [(shard, *scores) for shard, scores in _in_shards(shards, ranges) if shard.number < len(epochs)]
    found: dict[ShardKeys, list[bytes]] = {}
    answers = store.sound([_waiting(shard, queue, low, high) for shard, low, high in known]) if known else []
    for (shard, *_), pairs in zip(known, answers, strict=True):
        found.setdefault(shard, []).extend(pairs)

    def call(shard: ShardKeys, pairs: Sequence[bytes]) -> ScriptCall:
        part = Part(shard, queue, (), [task_id.decode() for task_id in pairs[: 2 * HEADS : 2]])
        arguments = [epochs[shard.number].id, *pairs[1 : 2 * HEADS : 2]]
        return part.call(scripts.RECOVER, [*part.heads, shard.epoch], arguments)

    calls = [call(shard, pairs) for shard, pairs in found.items() if pairs]
    return sum(evaluate(store, calls)) if calls else 0


def highest(store: Store, shards: Sequence[ShardKeys], queue: str, partitions: Sequence[int]) -> dict[int, int]:
    """Return what `highest` answers."""
    places = list(_in_shards(shards, [(number, 0, OFFSETS) for number in partitions]))
    answers = store.sound([_waiting(shard, queue, *scores, last=True) for shard, scores in places]) if places else []
    scores = [int(pair[1]) for pair in answers if pair]
    return {score // OFFSETS: score % OFFSETS for score in scores}


def _in_shards(
    shards: Sequence[ShardKeys], ranges: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[ShardKeys, tuple[int, int]]]:
    """Yield the shard of each partition, and the lowest score of its range and the one after the range."""
    for partition, first, end in ranges:
        if 0 <= partition < PARTITIONS:
            low, high = (partition * OFFSETS + min(max(offset, 0), OFFSETS) for offset in (first, end))
            yield shards[partition % len(shards)], (low, high)


def _waiting(shard: ShardKeys, queue: str, low: int, high: int, *, last: bool = False) -> tuple[Any, ...]:
    """Return the command that reads IDs and scores of this range: its first ones, or only the last."""
    order = (f"({high}", low, "BYSCORE", "REV") if last else (low, f"({high}", "BYSCORE")
    return ("ZRANGE", shard.waiting + queue, *order, "LIMIT", 0, 1 if last else HEADS, "WITHSCORES")

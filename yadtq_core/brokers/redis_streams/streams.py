"""The keys of the streams broker, and the names of its entries in Redis and in yadtq.

    yadtq:{ns:s}:stream:<queue>   stream  the messages of one queue and shard, each in the field `m`; one group, `yadtq`
    yadtq:{ns:s}:dead:<queue>     hash    the dead letters: ID → time (ms), a blank, the message

An entry is `1755103784123-5` in Redis, time and a number within it; as an offset it is one integer, and as a position
that integer behind the shard's number, as everywhere: `0:1840359033644711941`.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from yadtq_core.model import Partition, shard_of
from yadtq_core.net.redis_scripts import load

GROUP = "yadtq"
"""The only group of each stream; its name needs no namespace, because the keys have it."""
FIELD = b"m"

_SHORT, _LONG = 20, 64
_LONG_FROM = 1 << 63
"""2**20 entries within a millisecond happen only if Redis's clock stops, or was set back, for long."""

PUBLISH = load(__package__, "publish")
READ = load(__package__, "read")
TAKE = load(__package__, "take")
LEAVE = load(__package__, "leave")


def offset_of(entry: bytes) -> int:
    """Return an entry's offset: unique, and greater for a later entry."""
    ms, _, sequence = entry.partition(b"-")
    number = int(sequence)
    return int(ms) << _SHORT | number if number < 1 << _SHORT else int(ms) << _LONG | number


def entry_of(offset: int) -> str:
    """Return the entry with this offset."""
    bits = _SHORT if offset < _LONG_FROM else _LONG
    return f"{offset >> bits}-{offset & ((1 << bits) - 1)}"


class Streams:
    """The names of a namespace's streams and of their shards."""

    __slots__ = ("_roots", "shards")

    def __init__(self, namespace: str, shards: int) -> None:
        self.shards = range(shards)
        self._roots = [f"yadtq:{{{namespace}:{shard}}}:" for shard in self.shards]

    def of(self, queue: str) -> list[Partition]:
        """Return a queue's partitions, one for each shard."""
        return [Partition(queue, shard) for shard in self.shards]

    def shard(self, task_id: str) -> int:
        """Return the shard of a task's messages."""
        return shard_of(task_id, len(self.shards))

    def key(self, partition: Partition) -> str:
        """Return the key of a partition."""
        return f"{self._roots[partition.number]}stream:{partition.queue}"

    def dead(self, queue: str, letter: str) -> str:
        """Return the key of a dead letter; the name of an unreadable message's letter is not a task ID."""
        return f"{self._roots[crc32(letter.encode()) % len(self.shards)]}dead:{queue}"

    def positions(self, shard: int, entries: Sequence[bytes]) -> list[str]:
        """Return the positions of a shard's entries."""
        return [f"{shard}:{offset_of(entry)}" for entry in entries]

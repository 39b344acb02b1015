"""The names of everything in Redis: keys, and the fields of a record.

    yadtq:{ns:s}:task:<id>             hash    the record (`Field`)
    yadtq:{ns:s}:message:<id>          string  the message, until success, cancellation, or an acknowledged dead letter
    yadtq:{ns:s}:open                  zset    ID → the time at which a sweep looks at it (ms): a record without a
                                               confirmed message, with a lease, taken and not claimed yet, to be
                                               cancelled, or failed and without its dead letter
    yadtq:{ns:s}:scheduled             zset    ID → due time (ms): delays and retries
    yadtq:{ns:s}:ready:<queue>         zset    ID → ready since (ms): `queued`, waits for a free slot of any worker
    yadtq:{ns:s}:waiting:<queue>       zset    ID → partition * 2^38 + offset: `queued`, its message is in the log
    yadtq:{ns:s}:counts                hash    `<queue>:<status>` open records, `:<status>` totals of ended ones
    yadtq:{ns:s}:held:<incarnation>    hash    ID → fence of each record that a worker holds
    yadtq:{ns:s}:epoch                 hash    id, born, mark, run_id, past
    yadtq:{ns}:worker:<id>:<incarnation>  hash    one worker's row
    yadtq:{ns}:workers                 zset    `<id>:<incarnation>` → last seen (ms)
    yadtq:{ns}:meta                    hash    format, shards
    yadtq:{ns}:ended:<random>          channel of one client, on which the IDs of ended tasks are pushed

`{ns:s}` is a Cluster hash tag, s the shard (`model.shard_of`): one call touches one shard only, and names each of its
keys. A record is open until it has ended and, if it failed, its dead letter is acknowledged. It expires after the
result TTL from then on. An open record is in exactly one of the four indexes `open`, `scheduled`, `ready` and
`waiting`; a `queued` one whose message is in a stream of the same store (`create`) is in none.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

ID_LENGTH = 36
"""The scripts read an ID off the end of its key."""


class Field(StrEnum):
    """The fields of a record: the name in Python and Lua, and the name in Redis.

    A name in Redis has two letters, because field names are most of a small ended record. Times are milliseconds by
    Redis's clock. A field without a value does not exist, and every field but the first three may be missing.
    A field with the name of an attribute of `model.Record` is read into that attribute (`decoding`). The
    message has a key of its own: a value over 64 bytes makes Redis keep the hash in a form of twice the size.
    """

    STATUS = "st"
    """`model.Status`; written by every script that changes it."""
    TASK = "tk"
    """Written by create and rebuild."""
    SUBMITTED_AT = "sa"
    """Written by create and rebuild."""
    QUEUE = "qu"
    """If it is not `default`; written by create and rebuild."""
    DIGEST = "ha"
    """Digest of task and arguments; written by create and rebuild."""
    FENCE = "fe"
    """Fencing token (µs); written by claim, raised by one when a record ends or is requeued outside its run."""
    ATTEMPT = "at"
    """Runs begun; raised by claim, lowered by a release of a run that did not begin."""
    WORKER_ID = "wk"
    """ID of the worker of the run; written by claim, removed by a release of a run that did not begin."""
    STARTED_AT = "sd"
    """Start of the run; as WORKER_ID."""
    NONCE = "nc"
    """Of the claim, or of the cancellation; written by claim and cancel, removed by end and release."""
    INCARNATION = "in"
    """Of the worker that holds the lease; written by claim, removed by end and release."""
    DEADLINE = "dl"
    """End of the lease, or due time of a scheduled record; removed by end."""
    LOST = "lo"
    """How often its worker or child was lost; written by claim, offer, sweep and release, taken back by extend,
    finish and release."""
    POSITION = "po"
    """Of its message; written by confirm and rebuild, removed by end and retry."""
    RELEASED = "rl"
    """It is ready, not waiting in the log; written by release, offer, sweep and recover, removed by claim, extend and
    finish."""
    LOST_FENCE = "lf"
    """Fence under which the last loss was counted; written by sweep and offer, removed by claim and release, and by a
    late extend or finish, which takes the loss back."""
    UNKNOWN_SINCE = "un"
    """First of the releases by workers that lack the task (ms); written by release, removed by a release for another
    reason, a retry and an end as failed or cancelled."""
    NOTE = "no"
    """Why it waits; written by release, removed by claim."""
    PROGRESS = "pg"
    """Written by extend, removed by retry and release."""
    WAITERS = "wt"
    """Channels of waiting clients, separated by blanks; written by watch, removed by end."""
    CANCEL = "ca"
    """Reason of the requested cancellation; written by cancel."""
    FINISHED_AT = "fi"
    """Written by every script that ends a record."""
    RESULT = "re"
    """Written by finish."""
    CONTENT_TYPE = "ct"
    """Of the result, if it is not application/json; written by finish."""
    ERROR = "er"
    """JSON of `model.Error`; written by every script that fails a record."""
    HISTORY = "hi"
    """One JSON line for each of the last ten failed or lost attempts; written by finish, release, claim and sweep."""


class ShardKeys:
    """The keys of one shard."""

    __slots__ = ("counts", "epoch", "held", "message", "number", "open", "ready", "scheduled", "task", "waiting")

    def __init__(self, namespace: str, shard: int) -> None:
        root = f"yadtq:{{{namespace}:{shard}}}:"
        self.task = root + "task:"
        self.message = root + "message:"
        self.number = shard
        self.open = root + "open"
        self.scheduled = root + "scheduled"
        self.ready = root + "ready:"
        self.waiting = root + "waiting:"
        self.counts = root + "counts"
        self.epoch = root + "epoch"
        self.held = root + "held:"

    def heads(self, queue: str) -> list[str]:
        """Return the keys with which a script that changes records begins: the indexes, and the counters."""
        return [self.open, self.scheduled, self.ready + queue, self.waiting + queue, self.counts]

    def tasks(self, ids: Sequence[str]) -> list[str]:
        """Return the keys of these records."""
        prefix = self.task
        return [prefix + task_id for task_id in ids]

    def messages(self, ids: Sequence[str]) -> list[str]:
        """Return the keys of these messages."""
        prefix = self.message
        return [prefix + task_id for task_id in ids]


class Keys:
    """The keys of a namespace."""

    __slots__ = ("channel", "meta", "shards", "worker", "workers")

    def __init__(self, namespace: str, shards: int) -> None:
        self.shards = tuple(ShardKeys(namespace, shard) for shard in range(shards))
        root = f"yadtq:{{{namespace}}}:"
        self.worker = root + "worker:"
        self.workers = root + "workers"
        self.meta = root + "meta"
        self.channel = root + "ended:"

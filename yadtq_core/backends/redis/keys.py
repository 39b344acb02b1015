"""The names of everything in Redis: keys, and the fields of a record.

    yadtq:{ns:s}:task:<id>             hash    the record (fields below)
    yadtq:{ns:s}:message:<id>          string  the message, until success, cancel, or the burial of a failure
    yadtq:{ns:s}:open                  zset    every unfinished or unburied ID → when somebody must look at it (ms)
    yadtq:{ns:s}:counts                hash    `<queue>:<status>` unfinished records, `:<status>` totals of ends
    yadtq:{ns:s}:held:<incarnation>    hash    ID → fence of what a worker holds
    yadtq:{ns:s}:epoch                 hash    id, born, mark, run_id, past
    yadtq:{ns}:worker:<id>:<incarnation>  hash    one worker's row
    yadtq:{ns}:workers                 zset    `<id>:<incarnation>` → last seen (ms)
    yadtq:{ns}:meta                    hash    format, shards
    yadtq:{ns}:ended:<random>          channel of one client, on which the IDs of ended tasks are pushed

`{ns:s}` is a Cluster hash tag, s the shard (`model.shard_of`): one call touches one shard only.

The fields of a record have two letters, because a small finished record is mostly field names. Times are
milliseconds by Redis's clock. A field that says nothing is not there.

    | field | holds                                       | written by                         | until              |
    | st    | status, as model.Status                     | all                                |                    |
    | tk    | task                                        | create, rebuild                    |                    |
    | qu    | queue, where not `default`                  | create, rebuild                    |                    |
    | ha    | digest of task and arguments                | create, rebuild                    |                    |
    | sa    | submitted_at                                | create, rebuild                    |                    |
    | fe    | fence (µs)                                  | claim; +1 by whoever ends or takes it from outside | |
    | at    | attempt: runs begun                         | claim; -1 by a release of what did not begin | |
    | wk    | worker ID of the run                        | claim                              | release unstarted  |
    | sd    | started_at of the run                       | claim                              | release unstarted  |
    | nc    | nonce of the claim (or of the cancel)       | claim, cancel                      | end, release       |
    | in    | incarnation that holds the lease            | claim                              | end, release       |
    | dl    | deadline of the lease, or time a scheduled one is due | claim, extend; create, finish, release | end |
    | lo    | how often its worker or child was lost      | claim, sweep, release              |                    |
    | po    | position of its message                     | confirm, rebuild                   | end, retry         |
    | ck    | how long the last queue check waited        | confirm, from the second           | end, retry         |
    | rl    | released, offered, reclaimed: looked at often | release, offer, sweep            | next claim         |
    | no    | note: why it waits                          | release                            | next claim         |
    | pg    | progress                                    | extend                             | retry, release     |
    | wt    | channels of those who wait, by blanks       | watch                              | end                |
    | ca    | cancel was asked for: the reason            | cancel                             |                    |
    | fi    | finished_at                                 | all that end it                    |                    |
    | re    | result                                      | finish                             |                    |
    | ct    | content type, where not application/json    | finish                             |                    |
    | er    | error, JSON of model.Error                  | finish, and who fails it           |                    |
    | hi    | JSON line of each of the last ten failed or lost attempts | finish, release, claim, sweep | |

A record expires after the result TTL from its end (a failed one from its burial). A value over 64 bytes makes Redis
keep the hash in a form of twice the size for good, so the message has a key of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

ID_LENGTH = 36
"""The scripts read an ID off the end of its key."""


class ShardKeys:
    """The keys of one shard."""

    __slots__ = ("counts", "epoch", "held", "message", "open", "task")

    def __init__(self, namespace: str, shard: int) -> None:
        root = f"yadtq:{{{namespace}:{shard}}}:"
        self.task = root + "task:"
        self.message = root + "message:"
        self.open = root + "open"
        self.counts = root + "counts"
        self.epoch = root + "epoch"
        self.held = root + "held:"

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

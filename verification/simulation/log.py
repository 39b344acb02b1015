"""The modelled Kafka's topics and its group: what is in the brokers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from verification.simulation.history import History
from verification.simulation.strands import Loom, Signal, SimulatedProcess
from yadtq_core.model import Partition


class Entry(NamedTuple):
    """One message in a partition."""

    id: str
    body: bytes
    timestamp_ms: int


class Member:
    """One membership in the group. `queues` it serves; `left` once it is out."""

    def __init__(self, process: SimulatedProcess, queues: tuple[str, ...], number: int) -> None:
        self.process = process
        self.queues = queues
        self.number = number
        self.left = False
        self.unreached_since: float | None = None
        self.closed_at: float | None = None
        """When its consumer was closed; if the leave was not received, its session must end first."""


class Kafka:
    """Partitions with their entries, committed offsets, and who owns which partition.

    Commits are checked for membership, not for ownership, as measured with a real one. `reached(process)` says
    whether a process can be heard. session: seconds after which a member of whom nothing is heard is out.
    metadata: characters of metadata that are kept of a commit.
    """

    def __init__(
        self, loom: Loom, history: History, partitions: list[Partition], session: float, metadata: int
    ) -> None:
        self._loom = loom
        self.history = history
        self._session = session
        self._metadata_characters = metadata
        self.logs: dict[Partition, list[Entry]] = {partition: [] for partition in partitions}
        self.starts: dict[Partition, int] = dict.fromkeys(partitions, 0)
        self.dead: dict[str, bytes] = {}
        self.commits: dict[Partition, tuple[int, str]] = {}
        self.members: list[Member] = []
        self.owners: dict[Partition, Member] = {}
        self.targets: dict[Partition, Member] = {}
        self._joined = 0
        self.news = Signal()
        """Fires when messages come, or partitions are dealt out anew."""
        self.committing: Callable[[Partition, int, int, str], None] = lambda *_: None
        """Told of each commit before it is done: partition, old offset, new one, metadata."""

    def append(self, partition: Partition, entry: Entry) -> int:
        """Add a message; return its offset."""
        log = self.logs[partition]
        log.append(entry)
        self.news.fire(self._loom)
        return len(log) - 1

    def end(self, partition: Partition) -> int:
        """Return the offset after the last message."""
        return len(self.logs[partition])

    def committed(self, partition: Partition) -> int:
        """Return the committed offset, else the log's start."""
        return self.commits.get(partition, (self.starts[partition], ""))[0]

    # The group

    def join(self, process: SimulatedProcess, queues: tuple[str, ...]) -> Member:
        """Become a member; partitions come with later polls."""
        self._joined += 1
        member = Member(process, queues, self._joined)
        self.members.append(member)
        self._balance(f"{process.name} joins")
        return member

    def leave(self, member: Member, why: str = "leaves") -> None:
        """Be a member no more."""
        if member.left:
            return
        member.left = True
        self.members.remove(member)
        for partition in [each for each, owner in self.owners.items() if owner is member]:
            del self.owners[partition]
        self._balance(f"{member.process.name} {why}")

    def expire(self, unreached: Callable[[SimulatedProcess], bool]) -> None:
        """Put out members of whom nothing was heard for a session."""
        now = self._loom.now
        for member in list(self.members):
            silent = member.closed_at if member.closed_at is not None else member.process.silent_since
            if silent is None and unreached(member.process):
                member.unreached_since = now if member.unreached_since is None else member.unreached_since
                silent = member.unreached_since
            elif silent is None:
                member.unreached_since = None
            if silent is not None and now - silent > self._session:
                self.leave(member, "is out of the group: its session ended")

    def commit(self, member: Member, offsets: dict[Partition, tuple[int, str]]) -> bool:
        """Commit; False for one that is no member."""
        if member.left:
            self.history.tell(member.process.name, "a commit is refused: not a member")
            return False
        for partition, (offset, given) in sorted(offsets.items()):
            metadata = given[: self._metadata_characters]
            self.committing(partition, self.committed(partition), offset, metadata)
            self.commits[partition] = (offset, metadata)
            self.history.tell(member.process.name, f"commits {name_of(partition)} {offset} ({metadata})")
        return True

    def _balance(self, why: str) -> None:
        """Say who is to own what: as even as can be, as little moved as can be."""
        targets: dict[Partition, Member] = {}
        loads: dict[Member, int] = dict.fromkeys(self.members, 0)
        for partition in sorted(self.logs):
            able = [member for member in self.members if partition.queue in member.queues]
            if not able:
                continue
            mine = sum(1 for each in self.logs if each.queue == partition.queue)
            share = -(-mine // len(able))
            keeper = self.owners.get(partition)
            held = sum(1 for each, who in targets.items() if who is keeper and each.queue == partition.queue)
            if keeper not in able or held >= share:
                keeper = min(able, key=lambda member: (loads[member], member.number))
            assert keeper is not None
            targets[partition] = keeper
            loads[keeper] += 1
        self.targets = targets
        self.news.fire(self._loom)
        told = ", ".join(f"{name_of(part)}→{member.process.name}" for part, member in targets.items())
        self.history.tell("group", f"{why}: {told}")


def name_of(partition: Partition) -> str:
    """Return a partition as histories show it."""
    return f"{partition.queue[0]}{partition.number}"

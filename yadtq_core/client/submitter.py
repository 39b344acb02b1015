"""The way of a batch: both services ready → create → publish → acknowledged. Three outcomes, never two.

*Refused*: nothing was written, or the record stands with other arguments. *Unknown*: it may be written, or is
written and not known to be with the broker: it may still run. *Accepted*: the broker has it (or the record stands
and needs no message yet).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Literal

from yadtq_core.client.background import Confirmer
from yadtq_core.errors import (
    BackendUnavailable,
    BrokerUnavailable,
    ConfigurationRefused,
    IdConflict,
    OutcomeUnknown,
    YadtqError,
)
from yadtq_core.interfaces import Backend, Broker, Outgoing, Publication
from yadtq_core.model import CreateCode, Created, Message, Status, Submission, shard_of
from yadtq_core.wire.envelope import stamp

MAX_OUTSTANDING = 10_000
"""Messages that the broker has not acknowledged: kafka-python has no memory limit of its own."""
PIECE = 200
"""Records that the backend writes all or none of, where they are of one shard."""
_LOOK = 0.005

Confirm = Literal["broker", "record"]
Verdict = YadtqError | None
"""Why a submission was refused or is unknown; None: accepted."""


class Batch:
    """What is known of a batch on its way: `verdicts` by index where there is one, `sent` the published indexes,
    `new` those whose records did not stand before.
    """

    __slots__ = ("deadline", "new", "publication", "sends", "sent", "submissions", "verdicts")

    def __init__(self, submissions: Sequence[Submission]) -> None:
        self.submissions = submissions
        self.deadline = 0.0
        self.verdicts: dict[int, YadtqError] = {}
        self.sent: list[int] = []
        self.new: list[int] = []
        self.sends = True
        self.publication: Publication | None = None

    @property
    def left(self) -> float:
        """Seconds until the caller is to be answered."""
        return max(0.0, self.deadline - time.monotonic())

    def open(self) -> Sequence[int]:
        """Return the indexes without a verdict."""
        everything = range(len(self.submissions))
        return everything if not self.verdicts else [i for i in everything if i not in self.verdicts]

    def refuse(self, indexes: Sequence[int], error: YadtqError) -> None:
        """Give each of these the same refusal."""
        for index in indexes:
            self.verdicts[index] = error

    def unknown(self, indexes: Sequence[int], cause: str) -> None:
        """Say of each of these that its outcome is not known."""
        for index in indexes:
            self.verdicts[index] = OutcomeUnknown((self.submissions[index].message.id,), cause)


class Submitter:
    """Carries batches of submissions to backend and broker. Safe for use by several threads.

    open_broker: called once, before anything is written. reached: called once, when the broker has first answered.
    timeout: seconds a submit may take once both are open.
    shards: of the backend. confirm: `broker`, or `record`: accepted when the record stands, published behind.
    accepted: told of new tasks once they are accepted; must not raise.
    """

    def __init__(
        self,
        backend: Backend,
        open_broker: Callable[[], Broker],
        confirmer: Confirmer,
        *,
        reached: Callable[[], None],
        timeout: float,
        shards: int,
        confirm: Confirm,
        accepted: Callable[[Sequence[Message]], None] | None = None,
    ) -> None:
        self._accepted = accepted
        self._backend = backend
        self._open_broker = open_broker
        self._reached = reached
        self._confirmer = confirmer
        self._timeout = timeout
        self._shards = shards
        self._awaits_broker = confirm == "broker"
        self._lock = threading.Lock()
        self._broker: Broker | None = None
        self._ensured: set[str] = set()
        self._at_most = 0
        self._stalled = False
        self._lost = False

    @property
    def broker(self) -> Broker | None:
        """The broker, once something was submitted."""
        return self._broker

    def begin(self, submissions: Sequence[Submission]) -> Callable[[], list[Verdict]]:
        """Start a batch; what is returned finishes it."""
        return partial(self.finish, self.start(submissions))

    def start(self, submissions: Sequence[Submission]) -> Batch:
        """Write the records and send the messages; with no publication in the batch there is nothing to wait for."""
        batch = Batch(submissions)
        broker = self._ready(batch)
        batch.deadline = time.monotonic() + self._timeout
        if broker is not None and self._in_sight(batch) and self._make_room(batch, broker):
            self._publish(batch, broker, self._create(batch, batch.open()))
        return batch

    def provision(self, queues: Sequence[str]) -> None:
        """Make what these queues need and is missing; raises ConfigurationRefused, BrokerUnavailable."""
        with self._lock:
            self._broker = self._broker or self._open_broker()
            self._ensure(self._broker, queues, create=True)

    def finish(self, batch: Batch) -> list[Verdict]:
        """Wait for the broker where something is on its way to it; return a verdict for each submission."""
        if batch.publication is not None:
            self._await(batch, batch.publication)
        verdicts: list[Verdict] = [None] * len(batch.submissions)
        for index, verdict in batch.verdicts.items():
            verdicts[index] = verdict
        if self._accepted and (new := [i for i in batch.new if verdicts[i] is None]):
            self._accepted([batch.submissions[index].message for index in new])
        return verdicts

    def _ready(self, batch: Batch) -> Broker | None:
        """Open the broker and look at each queue's topic, once; None where there is nothing to go on with."""
        queues = {submission.message.queue for submission in batch.submissions}
        if self._broker is not None and queues <= self._ensured:
            return self._broker
        with self._lock:
            try:
                self._broker = broker = self._broker or self._open_broker()
                for queue in queues - self._ensured:
                    self._look_at(batch, broker, queue)
                return broker if batch.open() else None
            except YadtqError as error:
                batch.refuse(batch.open(), error)
                return None

    def _look_at(self, batch: Batch, broker: Broker, queue: str) -> None:
        """Check one queue's topic: where that is not as it must be, the other queues are not concerned."""
        try:
            self._ensure(broker, [queue], create=False)
        except ConfigurationRefused as error:
            batch.refuse([i for i in batch.open() if batch.submissions[i].message.queue == queue], error)

    def _ensure(self, broker: Broker, queues: Sequence[str], *, create: bool) -> None:
        broker.ensure(queues, create=create)
        if not self._ensured:
            self._reached()
        self._ensured.update(queues)

    def _make_room(self, batch: Batch, broker: Broker) -> bool:
        """Wait until the broker has acknowledged enough of what was sent before; nothing is written until then."""
        count = len(batch.submissions)
        self._at_most += count
        while self._at_most > MAX_OUTSTANDING:
            # Asked only when the limit may be near: the broker looks at every message that it has not acknowledged.
            self._at_most = broker.unacknowledged() + self._confirmer.unsent + count
            if self._at_most <= MAX_OUTSTANDING:
                break
            if self._stalled or not batch.left:
                self._stalled = True
                return self._no_room(batch, broker)
            time.sleep(_LOOK)
        self._stalled = False
        return True

    def _no_room(self, batch: Batch, broker: Broker) -> bool:
        """Refuse; but a submission that needs only its record is written, and its message left to the sweeps."""
        if self._awaits_broker:
            error = BrokerUnavailable(
                f"the broker has not acknowledged {broker.unacknowledged()} earlier messages within "
                f"{self._timeout:g} s; nothing was submitted: try again when it is back"
            )
            batch.refuse(batch.open(), error)
            return False
        batch.sends = False
        return True

    def _in_sight(self, batch: Batch) -> bool:
        """After a reply was lost, look whether the backend is back before anything more is written."""
        if not self._lost:
            return True
        try:
            self._backend.get([batch.submissions[0].message.id])  # the time would be told by one that is loading too
        except YadtqError as error:
            batch.refuse(batch.open(), error)
            return False
        self._lost = False
        return True

    def _create(self, batch: Batch, indexes: Sequence[int]) -> Iterable[tuple[int, Created]]:
        """Write the records; return the answers with their indexes.

        A store that refuses may have refused a part only: what one script writes is asked again by itself.
        """
        try:
            answers = self._backend.create([batch.submissions[index] for index in indexes])
            return zip(indexes, answers, strict=True)
        except ConfigurationRefused as error:
            pieces = self._pieces(batch, indexes)
            if len(pieces) > 1:
                return chain.from_iterable([self._create(batch, piece) for piece in pieces])
            batch.refuse(indexes, error)
        except BackendUnavailable as error:
            self._lost = True
            batch.unknown(indexes, str(error))
        return ()

    def _pieces(self, batch: Batch, indexes: Sequence[int]) -> list[list[int]]:
        """Return the indexes by what one script writes: IDs of one shard, PIECE at most."""
        groups: dict[int, list[int]] = {}
        for index in indexes:
            groups.setdefault(shard_of(batch.submissions[index].message.id, self._shards), []).append(index)
        return [group[at : at + PIECE] for group in groups.values() for at in range(0, len(group), PIECE)]

    def _publish(self, batch: Batch, broker: Broker, created: Iterable[tuple[int, Created]]) -> None:
        """Send the messages of records that wait or run, and are not with the broker yet.

        One runs without a message where a sweep took it: were its worker and the record lost, nothing would be left.
        """
        outgoing: list[Outgoing] = []
        now = 0
        for index, answer in created:
            submission = batch.submissions[index]
            message = submission.message
            if answer.code is CreateCode.NEW:
                batch.new.append(index)
            if answer.code is CreateCode.CONFLICT:
                batch.verdicts[index] = IdConflict(message.id)
            elif answer.status in (Status.QUEUED, Status.PROCESSING) and not answer.published:
                if answer.code is CreateCode.NEW:
                    now = answer.submitted_at_ms
                batch.sent.append(index)
                body = stamp(submission.body, answer.submitted_at_ms)
                outgoing.append(Outgoing(message.id, message.queue, body))
        if outgoing and batch.sends:
            self._send(batch, broker, outgoing, now)

    def _send(self, batch: Batch, broker: Broker, outgoing: list[Outgoing], now: int) -> None:
        """Publish; where that fails the records stand, so that a sweep may still do it.

        now: Redis's time, 0 where it was not told because no record is new.
        """
        try:
            timestamp_ms = now or self._backend.time_ms()
            if self._awaits_broker:
                batch.publication = broker.publish(outgoing, timestamp_ms=timestamp_ms)
            else:
                self._confirmer.publish(broker, outgoing, timestamp_ms)
        except YadtqError as error:
            if self._awaits_broker:
                batch.unknown(batch.sent, str(error))

    def _await(self, batch: Batch, publication: Publication) -> None:
        ids = [batch.submissions[index].message.id for index in batch.sent]
        positions = publication.wait(batch.left)
        if None not in positions:
            self._confirmer.add(list(zip(ids, positions, strict=True)))  # type: ignore[arg-type]  # none is None
            return
        late = f"the broker has not acknowledged it within {self._timeout:g} s"
        for number, position in enumerate(positions):
            if position is None:
                batch.unknown([batch.sent[number]], publication.errors.get(number, late))
        self._confirmer.follow(ids, publication)

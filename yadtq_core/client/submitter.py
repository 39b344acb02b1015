"""Submits batches: both services reached → records created → messages published → messages acknowledged.

On a broker with streams the first step ends it: one script creates the record and publishes the message.

A submission has one of three outcomes. *Refused*: nothing was written, or a record of its ID has other arguments.
*Unknown*: the record may exist, or exists while the broker has not acknowledged the message; the task may still run.
*Accepted*: the broker has acknowledged the message, or the record exists and needs no message yet.
"""

from __future__ import annotations

import logging
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
from yadtq_core.model import CreateCode, Created, Message, Placed, Status, Submission, shard_of
from yadtq_core.wire.envelope import stamp

log = logging.getLogger("yadtq.client")

MAX_OUTSTANDING = 10_000
"""Messages that the broker has not acknowledged: kafka-python does not limit its memory."""
PIECE = 200
"""Records of one shard that the backend writes in one call, all or none."""
_LOOK = 0.005

Confirm = Literal["broker", "record"]
Failure = YadtqError | None
"""Why a submission was refused, or that its outcome is unknown; None: accepted."""


class SubmitBatch:
    """A batch of submissions and its state.

    failures: the refusals and unknown outcomes, by index. sent: indexes of the published messages. new: indexes of the
    records that did not exist before. sends: False when no message is published, and workers run the tasks from their
    records.
    """

    __slots__ = ("deadline", "failures", "new", "publication", "sends", "sent", "submissions")

    def __init__(self, submissions: Sequence[Submission]) -> None:
        self.submissions = submissions
        self.deadline = 0.0
        self.failures: dict[int, YadtqError] = {}
        self.sent: list[int] = []
        self.new: list[int] = []
        self.sends = True
        self.publication: Publication | None = None

    @property
    def left(self) -> float:
        """Seconds until the caller must have an answer."""
        return max(0.0, self.deadline - time.monotonic())

    def open(self) -> Sequence[int]:
        """Return the indexes without a failure."""
        everything = range(len(self.submissions))
        return everything if not self.failures else [i for i in everything if i not in self.failures]

    def refuse(self, indexes: Sequence[int], error: YadtqError) -> None:
        """Refuse each of these with the same error."""
        for index in indexes:
            self.failures[index] = error

    def unknown(self, indexes: Sequence[int], cause: str) -> None:
        """Set the outcome of each of these to unknown."""
        for index in indexes:
            self.failures[index] = OutcomeUnknown((self.submissions[index].message.id,), cause)


class Submitter:
    """Sends batches of submissions to backend and broker. Safe for use by several threads.

    open_broker: called once, before the first write. reached: called once, after the first answer of the broker.
    timeout: seconds that a submit may take once both services are open. shards: their number in the backend.
    confirm: `broker`, or `record`: accepted when the record exists, and published in the background.
    queues: created by the first submit if they do not exist; any other missing queue is refused.
    accepted: called with the messages of new tasks when they are accepted; must not raise.
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
        queues: Iterable[str] = (),
        accepted: Callable[[Sequence[Message]], None] | None = None,
    ) -> None:
        self._accepted = accepted
        self._backend = backend
        self._open_broker = open_broker
        self._reached = reached
        self._confirmer = confirmer
        self.timeout = timeout
        self._shards = shards
        self._awaits_broker = confirm == "broker"
        self._named = frozenset(queues)
        self._lock = threading.Lock()
        self.broker: Broker | None = None
        """None before the first submit."""
        self._ensured: set[str] = set()
        self._at_most = 0
        self._stalled = False
        self._lost = False

    def begin(self, submissions: Sequence[Submission]) -> Callable[[], list[Failure]]:
        """Start a batch; return the function that finishes it."""
        return partial(self.finish, self.start(submissions))

    def start(self, submissions: Sequence[Submission]) -> SubmitBatch:
        """Write the records and send the messages. A batch without a publication needs no wait."""
        batch = SubmitBatch(submissions)
        broker = self._ready(batch)
        batch.deadline = time.monotonic() + self.timeout
        if broker is not None and self._backend_answers(batch) and self._make_room(batch, broker):
            self._publish(batch, broker, self._create(batch, broker, batch.open()))
        return batch

    def provision(self, queues: Sequence[str]) -> None:
        """Create what these queues lack; raises ConfigurationRefused, BrokerUnavailable."""
        with self._lock:
            self.broker = self.broker or self._open_broker()
            self._ensure(self.broker, queues, create=True)

    def finish(self, batch: SubmitBatch) -> list[Failure]:
        """Wait for the broker if messages were published; return a failure or None for each submission."""
        if batch.publication is not None:
            self._await(batch, batch.publication)
        failures: list[Failure] = [None] * len(batch.submissions)
        for index, failure in batch.failures.items():
            failures[index] = failure
        if self._accepted and (new := [i for i in batch.new if failures[i] is None]):
            self._accepted([batch.submissions[index].message for index in new])
        return failures

    def _ready(self, batch: SubmitBatch) -> Broker | None:
        """Open the broker and check the topic of each queue, once; None if no submission of the batch can be sent."""
        queues = {submission.message.queue for submission in batch.submissions}
        if self.broker is not None and queues <= self._ensured:
            return self.broker
        with self._lock:
            try:
                self.broker = broker = self.broker or self._open_broker()
                for queue in queues - self._ensured:
                    self._check_queue(batch, broker, queue)
                return broker if batch.open() else None
            except YadtqError as error:
                batch.refuse(batch.open(), error)
                return None

    def _check_queue(self, batch: SubmitBatch, broker: Broker, queue: str) -> None:
        """Check the topic of one queue; a wrong topic refuses the submissions of this queue only."""
        try:
            self._ensure(broker, [queue], create=False)
        except ConfigurationRefused as error:
            if not self._create_queue(broker, queue):
                batch.refuse([i for i in batch.open() if batch.submissions[i].message.queue == queue], error)

    def _create_queue(self, broker: Broker, queue: str) -> bool:
        """Create the topic of a queue that the settings name, as a worker does.

        Return False if they do not, or if the broker refuses: the first refusal says what to do.
        """
        if queue not in self._named:
            return False
        try:
            self._ensure(broker, [queue], create=True)
        except ConfigurationRefused as error:
            log.debug("creating queue %s: %s", queue, error)
            return False
        return True

    def _ensure(self, broker: Broker, queues: Sequence[str], *, create: bool) -> None:
        broker.ensure(queues, create=create)
        if not self._ensured:
            self._reached()
        self._ensured.update(queues)

    def _make_room(self, batch: SubmitBatch, broker: Broker) -> bool:
        """Wait until the broker has acknowledged enough earlier messages; until then nothing is written."""
        count = len(batch.submissions)
        self._at_most += count
        while self._at_most > MAX_OUTSTANDING:
            # Only when the limit may be near: the broker counts its unacknowledged messages one by one.
            self._at_most = broker.unacknowledged() + self._confirmer.unsent + count
            if self._at_most <= MAX_OUTSTANDING:
                break
            if self._stalled or not batch.left:
                self._stalled = True
                return self._no_room(batch, broker)
            time.sleep(_LOOK)
        self._stalled = False
        return True

    def _no_room(self, batch: SubmitBatch, broker: Broker) -> bool:
        """Refuse the batch; if its records are enough, publish no message instead: workers run it from them."""
        if self._awaits_broker:
            error = BrokerUnavailable(
                f"the broker has not acknowledged {broker.unacknowledged()} earlier messages within "
                f"{self.timeout:g} s; nothing was submitted: try again when it is back"
            )
            batch.refuse(batch.open(), error)
            return False
        batch.sends = False
        return True

    def _backend_answers(self, batch: SubmitBatch) -> bool:
        """After a lost reply, check that the backend answers again before more is written."""
        if not self._lost:
            return True
        try:
            self._backend.get([batch.submissions[0].message.id])  # not its time, which it returns while it still loads
        except YadtqError as error:
            batch.refuse(batch.open(), error)
            return False
        self._lost = False
        return True

    def _create(self, batch: SubmitBatch, broker: Broker, indexes: Sequence[int]) -> Iterable[tuple[int, Created]]:
        """Write the records, on a broker with streams their messages too; return the answers with their indexes.

        If the store refuses, other shards may have accepted: each piece that one script writes is then tried alone.
        """
        try:
            answers = self._backend.create([batch.submissions[index] for index in indexes], stream=broker.stream)
            return zip(indexes, answers, strict=True)
        except ConfigurationRefused as error:
            pieces = self._pieces(batch, indexes)
            if len(pieces) > 1:
                return chain.from_iterable([self._create(batch, broker, piece) for piece in pieces])
            batch.refuse(indexes, error)
        except BackendUnavailable as error:
            self._lost = True
            batch.unknown(indexes, str(error))
        return ()

    def _pieces(self, batch: SubmitBatch, indexes: Sequence[int]) -> list[list[int]]:
        """Return the indexes in pieces that one script writes: IDs of one shard, PIECE at most."""
        groups: dict[int, list[int]] = {}
        for index in indexes:
            groups.setdefault(shard_of(batch.submissions[index].message.id, self._shards), []).append(index)
        return [group[at : at + PIECE] for group in groups.values() for at in range(0, len(group), PIECE)]

    def _publish(self, batch: SubmitBatch, broker: Broker, created: Iterable[tuple[int, Created]]) -> None:
        """Send the messages of records that wait or run and are not published.

        A worker can run a task from its record before its message is published. It is published here all the same: if
        that worker and the record were lost, the message would be the only copy.
        """
        outgoing: list[Outgoing] = []
        now = 0
        for index, answer in created:
            submission = batch.submissions[index]
            message = submission.message
            if answer.code is CreateCode.NEW:
                batch.new.append(index)
            if answer.code is CreateCode.CONFLICT:
                batch.failures[index] = IdConflict(message.id)
            elif answer.status in (Status.QUEUED, Status.PROCESSING) and not answer.published:
                if answer.code is CreateCode.NEW:
                    now = answer.submitted_at_ms
                batch.sent.append(index)
                body = stamp(submission.body, answer.submitted_at_ms)
                outgoing.append(Outgoing(message.id, message.queue, body))
        if outgoing and batch.sends:
            self._send(batch, broker, outgoing, now)

    def _send(self, batch: SubmitBatch, broker: Broker, outgoing: list[Outgoing], now: int) -> None:
        """Publish the messages. If that fails, the records exist, and workers may still run them.

        now: Redis's time; 0 if it is not known because no record is new.
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

    def _await(self, batch: SubmitBatch, publication: Publication) -> None:
        positions = publication.wait(batch.left)
        messages = [batch.submissions[index].message for index in batch.sent]
        sent = [(message.id, message.queue) for message in messages]
        if None not in positions:
            self._confirmer.add([Placed(*one, place) for one, place in zip(sent, positions, strict=True) if place])
            return
        late = f"the broker has not acknowledged it within {self.timeout:g} s"
        for number, position in enumerate(positions):
            if position is None:
                batch.unknown([batch.sent[number]], publication.errors.get(number, late))
        self._confirmer.follow(sent, publication)

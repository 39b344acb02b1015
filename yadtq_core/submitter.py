"""The way of a batch: both services ready → create → publish → acknowledged. Three outcomes, never two.

*Refused*: nothing was written, or the record stands with other arguments. *Unknown*: it may be written, or is
written and not known to be with the broker: it may still run. *Accepted*: the broker has it (or the record stands
and needs no message yet).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Literal

from yadtq_core.confirmer import Confirmer
from yadtq_core.envelope import Encoded, stamp
from yadtq_core.errors import (
    BackendUnavailable,
    BrokerUnavailable,
    ConfigurationRefused,
    IdConflict,
    OutcomeUnknown,
    YadtqError,
)
from yadtq_core.interfaces import Backend, Broker, Publication
from yadtq_core.model import CreateCode, Created, Status, Submission, shard_of

MAX_OUTSTANDING = 10_000
"""Messages that the broker has not acknowledged: kafka-python has no memory limit of its own."""
_LOOK = 0.005

Confirm = Literal["broker", "record"]
Verdict = YadtqError | None
"""Why a submission was refused or is unknown; None: accepted."""


class _Batch:
    """What is known of a batch on its way: `verdicts` by index where there is one, `sent` the published indexes."""

    __slots__ = ("deadline", "publication", "sends", "sent", "submissions", "verdicts")

    def __init__(self, submissions: Sequence[Submission]) -> None:
        self.submissions = submissions
        self.deadline = 0.0
        self.verdicts: dict[int, YadtqError] = {}
        self.sent: list[int] = []
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

    open_broker: called once, before anything is written. timeout: seconds a submit may take once both are open.
    shards: of the backend. confirm: `broker`, or `record`: accepted when the record stands, published behind.
    """

    def __init__(
        self,
        backend: Backend,
        open_broker: Callable[[], Broker],
        confirmer: Confirmer,
        *,
        timeout: float,
        shards: int,
        confirm: Confirm,
    ) -> None:
        self._backend = backend
        self._open_broker = open_broker
        self._confirmer = confirmer
        self._timeout = timeout
        self._shards = shards
        self._awaits_broker = confirm == "broker"
        self._lock = threading.Lock()
        self._broker: Broker | None = None
        self._ensured: set[str] = set()
        self._stalled = False

    @property
    def broker(self) -> Broker | None:
        """The broker, once something was submitted."""
        return self._broker

    def begin(self, submissions: Sequence[Submission]) -> Callable[[], list[Verdict]]:
        """Write the records and send the messages; what is returned waits for the rest, and answers for each."""
        batch = _Batch(submissions)
        broker = self._ready(batch)
        batch.deadline = time.monotonic() + self._timeout
        if broker is not None and (indexes := batch.open()) and self._make_room(batch, broker):
            self._publish(batch, broker, self._create(batch, indexes))
        return lambda: self._finish(batch)

    def _ready(self, batch: _Batch) -> Broker | None:
        """Open the broker and look at each queue's topic, once; None where there is nothing to go on with."""
        queues = {submission.message.queue for submission in batch.submissions}
        if self._broker is not None and queues <= self._ensured:
            return self._broker
        with self._lock:
            try:
                self._broker = broker = self._broker or self._open_broker()
            except YadtqError as error:
                batch.refuse(batch.open(), error)
                return None
            for queue in queues - self._ensured:
                try:
                    broker.ensure([queue], create=False)
                    self._ensured.add(queue)
                except YadtqError as error:
                    concerned = [i for i in batch.open() if batch.submissions[i].message.queue == queue]
                    batch.refuse(concerned, error)
        return broker

    def _make_room(self, batch: _Batch, broker: Broker) -> bool:
        """Wait until the broker has acknowledged enough of what was sent before; nothing is written until then."""
        most = MAX_OUTSTANDING - len(batch.submissions)
        while broker.unacknowledged() > most:
            if self._stalled or not batch.left:
                self._stalled = True
                return self._no_room(batch, broker)
            time.sleep(_LOOK)
        self._stalled = False
        return True

    def _no_room(self, batch: _Batch, broker: Broker) -> bool:
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

    def _create(self, batch: _Batch, indexes: Sequence[int]) -> Iterable[tuple[int, Created]]:
        """Write the records; return the answers with their indexes.

        A store that refuses has written nothing of that shard; the other shards are asked again, one by one.
        """
        chosen = [batch.submissions[index] for index in indexes]
        try:
            return zip(indexes, self._backend.create(chosen), strict=True)
        except ConfigurationRefused as error:
            groups = self._by_shard(batch, indexes)
            if len(groups) > 1:
                return chain.from_iterable([self._create(batch, group) for group in groups])
            batch.refuse(indexes, error)
        except BackendUnavailable as error:
            batch.unknown(indexes, str(error))
        return ()

    def _by_shard(self, batch: _Batch, indexes: Sequence[int]) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for index in indexes:
            groups.setdefault(shard_of(batch.submissions[index].message.id, self._shards), []).append(index)
        return list(groups.values())

    def _publish(self, batch: _Batch, broker: Broker, created: Iterable[tuple[int, Created]]) -> None:
        """Send the messages of records that are queued and not with the broker yet."""
        outgoing, now = [], 0
        for index, answer in created:
            submission = batch.submissions[index]
            message = submission.message
            if answer.code is CreateCode.CONFLICT:
                batch.verdicts[index] = IdConflict(message.id)
            elif answer.status is Status.QUEUED and not answer.published:
                if answer.code is CreateCode.NEW:
                    now = answer.submitted_at_ms
                batch.sent.append(index)
                body = stamp(submission.body, answer.submitted_at_ms)
                outgoing.append(Encoded(message.id, message.queue, body))
        if outgoing and batch.sends:
            try:
                batch.publication = broker.publish(outgoing, timestamp_ms=now or self._backend.time_ms())
            except YadtqError as error:
                self._unpublished(batch, batch.sent, str(error))

    def _finish(self, batch: _Batch) -> list[Verdict]:
        """Wait for the broker where that is the promise; return the verdicts."""
        if batch.publication is not None:
            ids = [batch.submissions[index].message.id for index in batch.sent]
            if self._awaits_broker:
                self._await(batch, batch.publication, ids)
            else:
                self._confirmer.follow(ids, batch.publication)
        verdicts: list[Verdict] = [None] * len(batch.submissions)
        for index, verdict in batch.verdicts.items():
            verdicts[index] = verdict
        return verdicts

    def _await(self, batch: _Batch, publication: Publication, ids: list[str]) -> None:
        positions = publication.wait(batch.left)
        if None not in positions:
            self._confirmer.add(list(zip(ids, positions, strict=True)))  # type: ignore[arg-type]  # none is None
            return
        for number, position in enumerate(positions):
            if position is None:
                late = f"the broker has not acknowledged it within {self._timeout:g} s"
                self._unpublished(batch, [batch.sent[number]], publication.errors.get(number, late))
        self._confirmer.follow(ids, publication)

    def _unpublished(self, batch: _Batch, indexes: Sequence[int], cause: str) -> None:
        """The record stands, so a sweep may still publish: not known, but where the record was the promise."""
        if self._awaits_broker:
            batch.unknown(indexes, cause)

"""Counters and index equal the records: compared with a scan after random histories."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import Answer, Delivery, Placed, ReleaseReason, Status, Verdict, WorkerIdentity
from yadtq_core.testing.contracts.backend_bed import (
    STATS,
    delivery,
    given_back,
    outcome,
    position_of,
    submission,
    worker,
)

ENDS = (Status.SUCCESS, Status.FAILED, Status.CANCELLED, Status.SCHEDULED)
UNFINISHED = {"queued", "scheduled", "processing"}
QUEUES = ("default", "fast")


class Life:
    """Random steps of clients and two workers, one of which lets its leases end."""

    def __init__(self, bed: Bed, seed: int) -> None:
        self.bed, self.dice = bed, random.Random(seed)
        self.known: list[Delivery] = []
        self.held: list[tuple[Delivery, Answer, WorkerIdentity]] = []
        self.workers = (worker("a"), worker("b"))
        self.fences: dict[str, int] = {}
        self.hasty = bed.open(lease=0.002, publish_grace=0.001, lost_limit=2)

    def some(self) -> list[Delivery]:
        """Return a few known deliveries."""
        return self.dice.sample(self.known, min(len(self.known), self.dice.randint(1, 6)))

    def submit(self) -> None:
        """Create some, some of them delayed, some only as messages."""
        queue, kind = self.dice.choice(QUEUES), self.dice.random()
        new = [submission(queue=queue, delay=0.001 if kind < 0.3 else 0.0) for _ in range(self.dice.randint(1, 5))]
        if kind > 0.8:
            self.known += [delivery(one, self.bed.backend.time_ms()) for one in new]
            return
        made = self.bed.backend.create(new)
        self.known += [delivery(one, what.submitted_at_ms) for one, what in zip(new, made, strict=True)]

    def claim(self, given: Sequence[Delivery] | None = None) -> None:
        """Claim some; every lease must have a larger fence than all before it."""
        some = self.some() if given is None else given
        by, nonce = self.dice.choice(self.workers), secrets.token_hex(8)
        backend = self.hasty if self.dice.random() < 0.5 else self.bed.backend
        answers = backend.claim(some, by, nonce)
        if self.dice.random() < 0.3:
            again = backend.claim(some, by, nonce)
            for first, second in zip(answers, again, strict=True):
                assert first.verdict is not Verdict.RUN or second == first
        for one, answer in zip(some, answers, strict=True):
            assert answer.verdict is not Verdict.ERROR
            if answer.verdict is Verdict.RUN:
                assert answer.fence > self.fences.get(one.message.id, 0)
                self.fences[one.message.id] = answer.fence
                self.held.append((one, answer, by))

    def taken(self) -> list[tuple[Delivery, Answer, WorkerIdentity]]:
        """Return some leases, of one worker, that may be stale."""
        by = self.dice.choice(self.workers)
        mine = [hold for hold in self.held if hold[2] is by]
        some = self.dice.sample(mine, min(len(mine), self.dice.randint(1, 4)))
        return list({hold[0].message.id: hold for hold in some}.values())

    def finish(self) -> None:
        """End some runs; repeat the call if the reply was lost."""
        some = self.taken()
        for one, answer, by in some:
            end = outcome(one.message.id, answer, self.dice.choice(ENDS), queue=one.message.queue)
            code = self.hasty.finish([end], by)[0]
            assert code in ("ok", "already", "fenced", "missing")
            if code == "ok":
                assert self.hasty.finish([end], by)[0] == "already"

    def release(self) -> None:
        """Give some back."""
        for one, answer, by in self.taken():
            lost = self.dice.random() < 0.3
            delay = self.dice.choice([0.0, 0.001])
            reason, queue = self.dice.choice(list(ReleaseReason)), one.message.queue
            back = given_back(one.message.id, answer, reason, queue=queue, lost=lost, delay=delay)
            if self.hasty.release([back], by)[0] == "ok":
                assert self.hasty.release([back], by)[0] == "ok"

    def extend(self) -> None:
        """Extend some."""
        for one, answer, by in self.taken():
            self.bed.backend.extend([self.bed.hold(one, answer)], by)

    def sweep(self) -> None:
        """Sweep, and mark dead letters as published."""
        self.hasty.buried([due.id for due in self.hasty.sweep(50, QUEUES).failed][:2])

    def confirm(self) -> None:
        """Confirm some, perhaps for another queue than their own."""
        queue = self.dice.choice([*QUEUES, None])
        self.bed.backend.confirm(
            [
                Placed(one.message.id, queue or one.message.queue, position_of(one.message.id, self.dice.randint(0, 9)))
                for one in self.some()
            ]
        )

    def recover(self) -> None:
        """Find some that are missing in the log."""
        ranges = [(number, self.dice.randint(0, 9), 10) for number in range(256)]
        epochs = self.bed.backend.heartbeat(self.bed.worker, STATS, ()).epochs
        self.bed.backend.recover(self.dice.choice(QUEUES), ranges, epochs)

    def take(self) -> None:
        """Take some, and perhaps claim them."""
        taken = self.bed.backend.take({queue: self.dice.randint(0, 3) for queue in QUEUES}, ()).deliveries
        if self.dice.random() < 0.7:
            self.claim(list(taken))

    def cancel(self) -> None:
        """Cancel some."""
        if self.dice.random() < 0.4:
            self.bed.backend.cancel([one.message.id for one in self.some()], "enough")

    def offer(self) -> None:
        """Offer some."""
        self.hasty.offer(self.some())

    def live(self, steps: int) -> None:
        """Take so many steps."""
        self.submit()
        for _ in range(steps):
            self.dice.choice(
                [
                    self.submit,
                    self.claim,
                    self.claim,
                    self.finish,
                    self.release,
                    self.extend,
                    self.sweep,
                    self.confirm,
                    self.recover,
                    self.take,
                    self.cancel,
                    self.offer,
                ]
            )()


@pytest.mark.parametrize("seed", range(6))
def test_counters_index_and_fences_hold_in_a_random_life(make_bed: Callable[..., Bed], seed: int) -> None:
    bed = make_bed(shards=1 + seed % 2)
    bed.backend.heartbeat(bed.worker, STATS, ())
    life = Life(bed, seed)
    for _ in range(4):
        life.live(60)
        check(bed, life)


def expected(bed: Bed, task_id: str) -> str:
    """Return the one index that fits a record's fields."""
    fields = bed.fields(task_id)
    queue = fields.get("qu", "default")
    if fields["st"] == "scheduled":
        return "scheduled"
    if fields["st"] == "queued" and "rl" in fields:
        return f"ready:{queue}"
    return f"waiting:{queue}" if fields["st"] == "queued" and "po" in fields else "open"


def taken(bed: Bed, task_id: str) -> list[str]:
    """Return the index of a ready record that was taken and not claimed, or is to be cancelled; else none."""
    fields = bed.fields(task_id)
    return ["open"] if fields["st"] == "queued" and "rl" in fields else []


def check(bed: Bed, life: Life) -> None:
    """Compare what is counted and indexed with the records."""
    counts = bed.backend.counts()
    assert counts.queues == bed.scan()
    ids = [one.message.id for one in life.known]
    records = {record.id: record for record in bed.backend.get(ids) if record}
    ended = Counter(str(record.status) for record in records.values() if record.status not in UNFINISHED)
    assert counts.ended == ended  # none has expired yet
    for task_id, record in records.items():
        places = bed.indexes(task_id)
        kept = bed.backend.messages([task_id])[0]
        if record.status in UNFINISHED:
            assert list(places) == [expected(bed, task_id)] or taken(bed, task_id) == list(places)
            assert kept is not None
        elif record.status is Status.FAILED:
            unburied = int(bed.store.run("PTTL", bed.key("task", task_id))) == -1
            assert list(places) == ["open"] * unburied
            assert unburied == (kept is not None)
        else:
            assert places == {}
            assert kept is None
    for by in life.workers:
        for hold in bed.backend.held(by):
            assert bed.fields(hold.id)["in"] == by.incarnation

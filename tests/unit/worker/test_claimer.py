"""The desk: what is given back waits again, so that its offset is settled one day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from msgspec import Raw

from yadtq_core.errors import BackendUnavailable
from yadtq_core.interfaces import Backend, Broker
from yadtq_core.model import (
    Answer,
    Delivery,
    FinishCode,
    Lease,
    Message,
    Partition,
    Release,
    ReleaseReason,
    Verdict,
    WorkerIdentity,
    WorkerRow,
)
from yadtq_core.plugin.loading import load_plugins
from yadtq_core.settings import Settings
from yadtq_core.worker.desk import Claimer, Desk
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor

P0 = Partition("default", 0)
RUN = Answer(Verdict.RUN, 7, 1)


class Store:
    """A backend that lets everything run and notes what is given back; `away` makes it silent."""

    def __init__(self) -> None:
        self.away = False
        self.released: list[Release] = []
        self.claims: list[tuple[list[str], str]] = []

    def claim(
        self, deliveries: Sequence[Delivery], worker: WorkerIdentity, nonce: str, *, nothing_stale: bool = False
    ) -> Sequence[Answer]:
        self.claims.append(([delivery.message.id for delivery in deliveries], nonce))
        if self.away:
            raise BackendUnavailable("away")
        return [RUN for _ in deliveries]

    def workers(self) -> Sequence[WorkerRow]:
        return ()

    def release(self, releases: Sequence[Release], worker: WorkerIdentity) -> Sequence[FinishCode]:
        if self.away:
            raise BackendUnavailable("away")
        self.released += releases
        return [FinishCode.OK for _ in releases]


class Children:
    """An executor that knows `add`, and takes what it is given as long as it has children."""

    def __init__(self) -> None:
        self.tasks = frozenset({"add"})
        self.given: list[Lease] = []
        self.ready = True

    def give(self, leases: Sequence[Lease]) -> bool:
        self.given += leases if self.ready else []
        return self.ready


class Post:
    """A broker of one kind or the other; nothing is asked of it here."""

    def __init__(self, *, replayable: bool) -> None:
        self.replayable = replayable


class Office:
    """A desk whose partition 0 has had three messages, two of `add` and one of a task unknown here."""

    def __init__(self, *, replayable: bool = True) -> None:
        self.store, self.children = Store(), Children()
        self.desk = Desk(
            Settings(),
            WorkerIdentity("w1", "i1", "host", 1, 0.0),
            cast(Broker, Post(replayable=replayable)),
            cast(Backend, self.store),
            executor=cast(Executor, self.children),
            events=Events(load_plugins(), WorkerIdentity("w1", "i1", "host", 1, 0.0)),
        )
        self.desk.intake.gained(P0, 0)
        self.desk.intake.polled([message(0), message(1), message(2, "strange")], 0.0)
        self.claimer = Claimer(self.desk)

    def claim(self, most: int = 9) -> bool:
        return self.claimer.claim(self.desk.intake.next_batch(most, 1e9))

    @property
    def low(self) -> int:
        return self.desk.intake._partitions[P0].mark.low


def message(offset: int, task: str = "add", partition: Partition | None = P0) -> Delivery:
    return Delivery(Message(v=1, id=f"id{offset}", task=task, arguments=Raw(b"[[],{}]")), b"", partition, offset)


@pytest.fixture
def office() -> Office:
    return Office()


def test_what_is_claimed_begins_and_what_is_unknown_here_is_left_to_others_and_settled(office: Office) -> None:
    assert office.claim()
    assert [lease.id for lease in office.children.given] == ["id0", "id1"]
    (released,) = office.store.released
    assert (released.id, released.fence, released.reason) == ("id2", 7, ReleaseReason.UNKNOWN_TASK)
    assert released.delay >= 5.0
    assert "unknown task 'strange'" in released.note
    office.desk.intake.done(P0, 0)
    office.desk.intake.done(P0, 1)
    assert office.low == 3
    assert office.desk.intake.waiting == 0


def test_the_message_of_an_unknown_task_is_kept_until_the_backend_has_said_that_it_holds_the_task(
    office: Office,
) -> None:
    """Found by the simulation: a release that was not heard left a task to nobody but its lease."""
    unknown = [delivery for delivery in office.desk.intake.next_batch(9, 1e9) if delivery.message.task == "strange"]
    (lease,) = office.desk.intake.claimed(unknown, [RUN], 0.0)
    office.store.away = True
    office.desk.release([lease], ReleaseReason.UNKNOWN_TASK)
    office.desk.intake.done(P0, 0)
    office.desk.intake.done(P0, 1)
    assert office.low == 2
    assert office.desk.intake.next_batch(9, 1e9) == unknown


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("reason", [ReleaseReason.CHILD_DIED, ReleaseReason.UNSTARTED, ReleaseReason.HANDED_BACK])
def test_what_is_given_back_is_claimed_again_so_that_its_partition_is_not_held_up_for_good(
    office: Office, reason: ReleaseReason, away: bool
) -> None:
    office.claim(1)
    (lease,) = office.children.given
    office.store.away = away
    office.desk.release([lease], reason, note="why", lost=True)
    if not away:
        assert office.store.released == [Release("id0", 7, reason, 0.0, True, "why")]
    assert not office.desk.intake.runs("id0")
    assert office.low == 0
    batch = office.desk.intake.next_batch(1, 1e9)
    assert [delivery.offset for delivery in batch] == [0]
    office.desk.intake.claimed(batch, [Answer(Verdict.DONE)], 0.0)
    assert office.low == 1


def test_what_came_from_a_sweep_and_is_given_back_is_left_to_the_next_sweep(office: Office) -> None:
    office.claimer.claim([message(9, partition=None)])
    office.desk.release(office.children.given, ReleaseReason.CHILD_DIED)
    assert office.desk.intake.waiting == 3


def test_without_children_what_was_claimed_is_given_back_at_once(office: Office) -> None:
    office.children.ready = False
    office.claim(2)
    assert [release.reason for release in office.store.released] == [ReleaseReason.UNSTARTED] * 2
    assert office.desk.intake.waiting == 3
    assert not office.desk.intake.runs("id0")


def test_a_stopping_worker_begins_nothing(office: Office) -> None:
    office.desk.stopping.set()
    office.claim(2)
    assert office.children.given == []
    assert [release.id for release in office.store.released] == ["id0", "id1"]


def test_a_claim_without_an_answer_is_asked_again_with_the_same_nonce(office: Office) -> None:
    office.store.away = True
    assert not office.claim(2)
    assert not office.claimer.claim(())
    office.store.away = False
    assert office.claimer.claim(())
    assert not office.claimer.unanswered
    assert office.store.claims == [(["id0", "id1"], office.store.claims[0][1])] * 3
    assert [lease.id for lease in office.children.given] == ["id0", "id1"]
    office.claim(1)
    assert office.store.claims[3][1] != office.store.claims[0][1]


def test_nothing_to_claim_is_no_call(office: Office) -> None:
    assert office.claimer.claim([])
    assert office.store.claims == []


@pytest.mark.parametrize("reason", [ReleaseReason.CHILD_DIED, ReleaseReason.UNSTARTED, ReleaseReason.HANDED_BACK])
def test_what_is_given_back_is_left_to_the_sweeps_where_its_message_was_settled_at_the_claim(
    reason: ReleaseReason,
) -> None:
    office = Office(replayable=False)
    office.claim()
    assert office.desk.intake.spent() == [(P0, 0), (P0, 1), (P0, 2)]
    office.desk.release(office.children.given, reason, note="why", lost=True)
    assert office.desk.intake.waiting == 0
    assert not any(office.desk.intake.runs(lease.id) for lease in office.children.given)


def test_a_message_whose_claim_is_not_answered_is_not_settled() -> None:
    office = Office(replayable=False)
    office.store.away = True
    assert not office.claim()
    assert office.desk.intake.spent() == []
    office.store.away = False
    assert office.claimer.claim(())
    assert len(office.desk.intake.spent()) == 3

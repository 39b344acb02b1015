"""The keeper thread: what it does with the answers to an extension."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.worker.office import Children, Office, Store
from yadtq_core.model import ExtendCode, Hold, Lease, WorkerIdentity


class Forgetful(Store):
    """A backend in which another worker has taken the first lease."""

    def extend(self, holds: Sequence[Hold], worker: WorkerIdentity) -> Sequence[ExtendCode]:
        return [ExtendCode.LOST, *[ExtendCode.OK for _ in holds[1:]]]


class Waiting(Children):
    """Children that have begun nothing of what they were given."""

    def held(self, *, older_than: float = 0.0) -> Sequence[Lease]:
        return self.given

    def drop(self, lost: set[tuple[str, int]]) -> list[Lease]:
        dropped = [lease for lease in self.given if (lease.id, lease.fence) in lost]
        self.given = [lease for lease in self.given if lease not in dropped]
        return dropped


def test_a_job_that_has_not_begun_is_dropped_with_its_lease_and_its_message_claimed_again() -> None:
    office = Office(store=Forgetful(), children=Waiting())
    office.claim(2)
    lost, kept = office.children.given
    keeper = office.parts.keeper_thread
    keeper._extend(keeper._holds(office.children.given))
    assert office.children.given == [kept]
    assert not office.intake.runs(lost.id)
    assert [delivery.message.id for delivery in office.intake.next_batch(1, 1e9, {})] == [lost.id]

"""Requeue requests: when a saturated worker lets its peers take the tasks that wait for a slot."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from tests.unit.worker.office import Office
from yadtq_core.model import Answer, Delivery, Verdict, WorkerIdentity, WorkerRow
from yadtq_core.testing.contracts.backend_bed import STATS
from yadtq_core.worker.missed import MissedMessages
from yadtq_core.worker.threads.group_member import GroupMember


class Saturated:
    """A worker without a free slot, beside a peer that has some; records what it offers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        office = Office()
        self.keeper = office.parts.keeper
        self.offers: list[list[str]] = []
        store, children = office.store, office.children
        peer = WorkerRow(WorkerIdentity("w2", "i2", "host", 2, 0.0), STATS, 0.0, online=True)
        monkeypatch.setattr(store, "workers", lambda *, online: (peer,))
        monkeypatch.setattr(store, "offer", self._offered, raising=False)
        monkeypatch.setattr(children, "free", 0, raising=False)
        monkeypatch.setattr(children, "take_back", lambda older_than: [], raising=False)
        monkeypatch.setattr(GroupMember, "commit", lambda _: None)
        monkeypatch.setattr(MissedMessages, "look", lambda *_: None)
        monkeypatch.setattr(GroupMember, "replayable", None)
        self.thread = office.parts.intake_thread
        self.now = time.monotonic()
        office.intake.saturation.note(0, self.now - 2.0)

    def _offered(self, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
        self.offers.append([delivery.message.id for delivery in deliveries])
        return [Answer(Verdict.OFFERED) for _ in deliveries]

    def tended(self) -> list[list[str]]:
        self.thread._tend(0, self.now)
        return self.offers


@pytest.fixture
def saturated(monkeypatch: pytest.MonkeyPatch) -> Saturated:
    return Saturated(monkeypatch)


def test_tasks_that_wait_too_long_for_a_slot_are_offered_to_peers(saturated: Saturated) -> None:
    saturated.keeper.beat_answered(saturated.now, saturated.now)
    assert saturated.tended() == [["id0", "id1"]]


def test_no_request_is_sent_after_the_backend_was_silent(saturated: Saturated) -> None:
    saturated.keeper.beat_answered(saturated.now - 30.0, saturated.now - 30.0)
    saturated.keeper.beat_answered(saturated.now, saturated.now)
    assert saturated.tended() == []

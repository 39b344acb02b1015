"""Intake's loop: when what waits is offered to others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import pytest

from tests.unit.worker.test_claimer import Office
from yadtq_core.interfaces import Consumer
from yadtq_core.model import Answer, Delivery, Verdict, WorkerIdentity, WorkerRow
from yadtq_core.testing.contracts.records import STATS
from yadtq_core.worker.threads.intake import IntakeThread


class Quiet:
    """A consumer that is never called: it has no offsets."""


class Full:
    """A worker without a free slot, beside one that has some; notes what it offers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        office = Office()
        self.desk = office.desk
        self.offers: list[list[str]] = []
        store, children = office.store, office.children
        other = WorkerRow(WorkerIdentity("w2", "i2", "host", 2, 0.0), STATS, 0.0, online=True)
        monkeypatch.setattr(store, "workers", lambda: (other,))
        monkeypatch.setattr(store, "offer", self._offered, raising=False)
        monkeypatch.setattr(children, "free", 0, raising=False)
        monkeypatch.setattr(children, "take_back", lambda older_than: [], raising=False)
        self.thread = IntakeThread(self.desk)
        self.thread._consumer = cast(Consumer, Quiet())
        self.now = time.monotonic()
        self.desk.intake.saturated(0, self.now - 2.0)

    def _offered(self, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
        self.offers.append([delivery.message.id for delivery in deliveries])
        return [Answer(Verdict.OFFERED) for _ in deliveries]

    def tended(self) -> list[list[str]]:
        self.thread._tend(self.now)
        return self.offers


def test_what_waits_for_too_long_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Full(monkeypatch)
    full.desk.keeper.beat_answered(full.now, full.now)
    assert full.tended() == [["id0", "id1"]]


def test_nothing_is_offered_after_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Full(monkeypatch)
    full.desk.keeper.beat_answered(full.now - 30.0, full.now - 30.0)
    full.desk.keeper.beat_answered(full.now, full.now)
    assert full.tended() == []

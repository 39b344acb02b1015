"""The intake thread takes ready records: what it leaves to peers."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import pytest

from tests.unit.worker.office import Office, Store, peer
from yadtq_core.model import Taken


class Ready(Store):
    """A store with ready records that it never hands out, because they are left to peers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[dict[str, int], set[str]]] = []

    def take(self, wanted: Mapping[str, int], elsewhere: Collection[str]) -> Taken:
        self.asked.append((dict(wanted), set(elsewhere)))
        return Taken([], dict.fromkeys(wanted, 9))


@pytest.fixture
def store() -> Ready:
    made = Ready()
    made.rows = [peer("add", "strange")]
    return made


@pytest.fixture
def office(store: Ready) -> Office:
    made = Office(store=store)
    made.claim()
    made.claimer.keeper.beat_answered(time.monotonic(), time.monotonic())
    made.intake.stopped(["id0", "id1"], 0.0)
    return made


def test_a_task_is_left_to_a_peer_of_the_same_queue_only(office: Office, store: Ready) -> None:
    office.intake.lanes.note_ready({"default": 1, "other": 1})
    office.parts.intake_thread._claim(2)
    assert store.asked == [({"default": 1}, {"strange"}), ({"other": 1}, set())]

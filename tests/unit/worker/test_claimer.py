"""The claimer: it starts the claimed runs, and repeats a claim that got no answer."""

from __future__ import annotations

import logging

import pytest

from tests.unit.worker.office import P0, Office, message, peer
from yadtq_core.model import ReleaseReason


@pytest.fixture
def office() -> Office:
    return Office()


def test_claimed_runs_start_and_an_unknown_task_is_requeued_and_its_message_settled(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "yadtq.worker"):
        assert office.claim()
    assert [lease.id for lease in office.children.given] == ["id0", "id1"]
    (released,) = office.store.released
    assert (released.id, released.fence, released.reason) == ("id2", 7, ReleaseReason.UNKNOWN_TASK)
    assert released.delay >= 5.0
    assert "unknown task 'strange'" in released.note
    assert "task strange is not loaded in this worker: requeued for another one" in caplog.text
    office.intake.done(P0, 0)
    office.intake.done(P0, 1)
    assert office.low == 3
    assert office.intake.waiting == 0


def test_the_log_has_an_unknown_name_once(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "yadtq.worker"):
        for offset in range(3, 6):
            office.claimer.claim([message(offset, "strange"), message(offset + 10, "other")])
    assert caplog.messages == [
        f"task {name} is not loaded in this worker: requeued for another one" for name in ("other", "strange")
    ]


def test_a_task_that_cannot_be_bound_here_is_left_to_other_workers(office: Office) -> None:
    office.children.unbound = {"strange": "plugin acme: yadtq_task_context failed: ValueError: no"}
    assert office.claim()
    (released,) = office.store.released
    assert (released.id, released.reason, released.lost) == ("id2", ReleaseReason.BINDING_FAILED, False)
    assert released.note == "left to other workers: plugin acme: yadtq_task_context failed: ValueError: no"
    assert released.delay >= 5.0
    office.intake.done(P0, 0)
    office.intake.done(P0, 1)
    assert office.low == 3


def test_a_peer_that_has_bound_the_task_gets_it_at_once(office: Office) -> None:
    office.children.unbound = {"strange": "no"}
    office.store.rows = [peer("strange")]
    assert office.claim()
    assert [one.delay for one in office.store.released] == [0.0]


def test_without_children_claimed_runs_are_requeued_at_once(office: Office) -> None:
    office.children.ready = False
    office.claim(2)
    assert [release.reason for release in office.store.released] == [ReleaseReason.UNSTARTED] * 2
    assert office.intake.waiting == 3
    assert not office.intake.runs("id0")


def test_a_stopping_worker_starts_nothing(office: Office) -> None:
    office.parts.lifecycle.stopping.set()
    office.claim(2)
    assert office.children.given == []
    assert [release.id for release in office.store.released] == ["id0", "id1"]


def test_a_claim_without_an_answer_is_repeated_with_the_same_nonce(office: Office) -> None:
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


def test_an_empty_batch_is_no_call(office: Office) -> None:
    assert office.claimer.claim([])
    assert office.store.claims == []


def test_a_message_whose_claim_has_no_answer_is_not_settled() -> None:
    office = Office(replayable=False)
    office.store.away = True
    assert not office.claim()
    assert office.intake.spent() == []
    office.store.away = False
    assert office.claimer.claim(())
    assert len(office.intake.spent()) == 3


def test_nothing_is_claimed_while_no_child_is_ready_or_the_backend_is_silent(office: Office) -> None:
    assert office.claimer.window(office.intake, 3, 0.0) == 0
    office.parts.keeper.beat_answered(0.0, 0.0)
    assert office.claimer.window(office.intake, 3, 0.0) == 3
    office.children.ready = False
    assert office.claimer.window(office.intake, 3, 0.0) == 0

"""Completion: outcomes are written in batches, and each answer means one thing."""

from __future__ import annotations

import pytest
from msgspec import Raw, structs

from yadtq_core.child.pipe import Done
from yadtq_core.model import Delivery, Error, FinishCode, Lease, Message, Partition, Status, WorkerIdentity
from yadtq_core.worker.rules.budget import BUDGET
from yadtq_core.worker.rules.completion import MAX_BATCH, Completion, outcome_of

WORKER = WorkerIdentity("w1", "i1", "host", 1, 0.0)
OK = FinishCode.OK


def run(number: int, status: str = "success", retry_in: float | None = None) -> tuple[Lease, Done]:
    message = Message(
        submitted_at_ms=1_000,
        v=1,
        id=f"{number}",
        task="add",
        arguments=Raw(b"[[],{}]"),
        queue="slow",
        headers={"a": "b"},
    )
    lease = Lease(Delivery(message, b"", Partition("slow", 0), number), 70 + number, 2, 3_500)
    error = None if status == "success" else Error("ValueError", "x")
    return lease, Done(number, status, b"6", "application/json", error, retry_in, 0.25)


@pytest.fixture
def completion() -> Completion:
    return Completion(WORKER)


def ids(pairs: object) -> list[str]:
    return [outcome.id for _, outcome in pairs]  # type: ignore[attr-defined]


def test_an_outcome_says_all_there_is_to_say() -> None:
    lease, done = run(5, "scheduled", 9.0)
    outcome = outcome_of(lease, done, "w1")
    assert (outcome.id, outcome.task, outcome.status, outcome.queue) == ("5", "add", Status.SCHEDULED, "slow")
    assert (outcome.attempt, outcome.fence, outcome.worker_id) == (2, 75, "w1")
    assert (outcome.submitted_at, outcome.started_at, outcome.duration) == (1.0, 3.5, 0.25)
    assert (outcome.retry_in, outcome.result, outcome.content_type) == (9.0, b"6", "application/json")
    assert (outcome.error, outcome.headers) == (Error("ValueError", "x"), {"a": "b"})


def test_an_outcome_is_pending_and_held_until_it_is_answered(completion: Completion) -> None:
    runs = [run(n) for n in range(3)]
    completion.ended(runs)
    batch = completion.next_batch(0.0)
    assert ids(batch) == ["0", "1", "2"]
    assert completion.next_batch(0.0) == batch
    assert (completion.pending, completion.held()) == (3, [lease for lease, _ in runs])
    completion.answered(batch, [OK] * 3)
    assert (completion.pending, completion.held(), completion.next_batch(0.0)) == (0, [], [])


def test_a_batch_is_bounded_and_later_outcomes_come_next(completion: Completion) -> None:
    completion.ended([run(n) for n in range(MAX_BATCH + 10)])
    batch = completion.next_batch(0.0)
    assert len(batch) == MAX_BATCH
    completion.ended([run(9999)])
    completion.answered(batch, [OK] * MAX_BATCH)
    assert ids(completion.next_batch(0.0)) == [f"{MAX_BATCH + n}" for n in range(10)] + ["9999"]


@pytest.mark.parametrize(
    ("code", "settled", "again", "accepted"),
    [
        (FinishCode.OK, True, False, True),
        (FinishCode.ALREADY, True, False, False),
        (FinishCode.FENCED, False, True, False),
        (FinishCode.MISSING, False, True, False),
        (FinishCode.ERROR, True, False, False),
    ],
)
def test_the_meaning_of_each_answer(
    completion: Completion, code: FinishCode, settled: bool, again: bool, accepted: bool
) -> None:
    lease, done = run(1)
    completion.ended([(lease, done)])
    finished = completion.answered(completion.next_batch(0.0), [code])
    assert (finished.settled == [lease], finished.again == [lease]) == (settled, again)
    assert [outcome.id for outcome in finished.accepted] == ["1"] * accepted
    assert completion.pending == 0


def test_answers_of_one_batch_are_kept_apart(completion: Completion) -> None:
    completion.ended([run(n) for n in range(4)])
    codes = [FinishCode.OK, FinishCode.FENCED, FinishCode.ALREADY, FinishCode.MISSING]
    finished = completion.answered(completion.next_batch(0.0), codes)
    assert [lease.id for lease in finished.settled] == ["0", "2"]
    assert [lease.id for lease in finished.fenced] == ["1"]
    assert [lease.id for lease in finished.missing] == ["3"]
    assert [outcome.id for outcome in finished.accepted] == ["0"]


def test_a_short_answer_is_a_bug_and_not_a_guess(completion: Completion) -> None:
    completion.ended([run(1), run(2)])
    with pytest.raises(ValueError, match="shorter"):
        completion.answered(completion.next_batch(0.0), [OK])


def test_without_an_answer_the_same_batch_is_written_again_ever_later(completion: Completion) -> None:
    completion.ended([run(1)])
    now, waits = 100.0, []
    for _ in range(8):
        assert ids(completion.next_batch(now)) == ["1"]
        completion.unanswered(now)
        waits.append(completion.wait(now, 9.0))
        assert completion.next_batch(now) == []
        assert completion.held()
        now += waits[-1]
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_an_answer_ends_the_waiting(completion: Completion) -> None:
    completion.ended([run(1), run(2)])
    for _ in range(5):
        completion.unanswered(100.0)
    completion.answered(completion.next_batch(200.0), [OK, OK])
    completion.ended([run(3)])
    assert completion.wait(200.0, 9.0) == 0.0
    completion.unanswered(200.0)
    assert completion.wait(200.0, 9.0) == pytest.approx(0.05)


def test_with_nothing_pending_there_is_nothing_to_wait_for(completion: Completion) -> None:
    completion.unanswered(100.0)
    assert completion.wait(100.0, 9.0) == 9.0


def test_a_batch_carries_no_more_than_a_slow_network_can_in_time(completion: Completion) -> None:
    large = b'"' + b"x" * (BUDGET // 3) + b'"'
    runs = [run(number) for number in range(4)]
    completion.ended([(lease, structs.replace(done, result=large)) for lease, done in runs])
    assert ids(completion.next_batch(0.0)) == ["0", "1"]
    completion.answered(completion.next_batch(0.0), [OK, OK])
    assert ids(completion.next_batch(0.0)) == ["2", "3"]


def test_a_result_above_the_limit_goes_alone(completion: Completion) -> None:
    lease, done = run(0)
    completion.ended([(lease, structs.replace(done, result=b"x" * (BUDGET + 1))), run(1)])
    assert ids(completion.next_batch(0.0)) == ["0"]


def test_errors_count_as_results_do(completion: Completion) -> None:
    lease, done = run(0, "failed")
    large = structs.replace(done, result=None, error=Error("ValueError", "x", "t" * (BUDGET // 2)))
    completion.ended([(lease, large), (lease, large)])
    assert len(completion.next_batch(0.0)) == 1


def test_outcomes_that_wait_for_the_backend_fill_a_budget(completion: Completion) -> None:
    """Their arguments count too: they are held until the outcome is written."""
    lease, done = run(0)
    large = structs.replace(lease, delivery=structs.replace(lease.delivery, body=b"x" * (BUDGET // 2)))
    completion.ended([(large, done)])
    assert not completion.full()
    assert completion.few()
    completion.ended([(large, done)])
    assert completion.full()
    assert not completion.few(), "it does not pay to wait for more"
    completion.answered(completion.next_batch(0.0), [OK, OK])
    assert not completion.full()

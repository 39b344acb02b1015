"""The memory tier beyond its contracts: a clock of the test's own, and what one process shares."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from yadtq_core import Client
from yadtq_core.backends import memory as backends
from yadtq_core.backends.memory import MemoryStore
from yadtq_core.brokers import memory as brokers
from yadtq_core.brokers.memory import MemoryBroker, Queues
from yadtq_core.cli.app import run
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.model import Delivery, Past, Placed, ReleaseReason, Status, Verdict
from yadtq_core.records import StoreBackend
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import (
    STATS,
    BackendBed,
    delivery,
    given_back,
    outcome,
    submission,
    worker,
)
from yadtq_core.testing.contracts.broker_bed import Member, messages, publish

DAY = 86_400.0


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def bed(store: MemoryStore) -> BackendBed:
    return BackendBed(lambda **given: StoreBackend(store, Settings(**given)))


def taken(bed: BackendBed) -> Sequence[Delivery]:
    return bed.backend.take({"default": 10}, ()).deliveries


def test_a_result_is_kept_for_a_day_and_then_its_message_is_too_old(bed: BackendBed, clock: Clock) -> None:
    bed.backend.heartbeat(bed.worker, STATS, ())
    clock.seconds += 1.0  # a task submitted after the first epoch was made cannot be in a copy that was lost
    one = bed.submit()[0]
    bed.finish(outcome(one.message.id, bed.run(one)))
    clock.seconds += DAY - 0.001
    assert bed.record(one).status is Status.SUCCESS
    assert bed.claim([one])[0].verdict is Verdict.DONE
    clock.seconds += 0.001
    assert bed.backend.get([one.message.id]) == [None]
    assert bed.claim([one])[0].verdict is Verdict.TOO_OLD


def test_a_lease_lasts_to_its_last_millisecond(bed: BackendBed, clock: Clock) -> None:
    one = bed.submit()[0]
    bed.run(one)
    clock.seconds += 14.999
    answer = bed.claim([one], worker=worker("b"))[0]
    assert (answer.verdict, answer.wait_ms) == (Verdict.BUSY, 1)
    clock.seconds += 0.001
    assert bed.run(one, worker=worker("b")).lost == 1


def test_a_clock_that_goes_back_still_gives_a_larger_fence(bed: BackendBed, clock: Clock) -> None:
    one = bed.submit()[0]
    first = bed.run(one)
    clock.seconds -= 3600.0
    bed.finish(outcome(one.message.id, first, Status.SCHEDULED, retry_in=0.0))
    assert bed.run(one).fence == first.fence + 1


def test_an_unconfirmed_record_is_ready_after_the_grace(bed: BackendBed, clock: Clock) -> None:
    unconfirmed, confirmed = bed.submit(2)
    bed.backend.confirm([Placed(confirmed.message.id, "default", "0:1")])
    clock.seconds += 9.999
    assert bed.backend.sweep(10, ["default"]).ready == {"default": 0}
    clock.seconds += 0.001
    assert bed.backend.sweep(10, ["default"]).ready == {"default": 1}
    clock.seconds += DAY
    assert [one.message.id for one in taken(bed)] == [unconfirmed.message.id]


def test_what_was_taken_and_not_claimed_is_ready_again_after_five_seconds(bed: BackendBed, clock: Clock) -> None:
    one = bed.submit()[0]
    bed.backend.offer([one])
    assert len(taken(bed)) == 1
    clock.seconds += 4.999
    assert bed.backend.sweep(10, ["default"]).ready == {"default": 0}
    clock.seconds += 0.001
    assert bed.backend.sweep(10, ["default"]).ready == {"default": 1}
    bed.run(taken(bed)[0])
    clock.seconds += 5.0
    assert bed.backend.sweep(10, ["default"]).ready == {"default": 0}


def test_a_failed_record_is_found_again_after_the_grace(bed: BackendBed, clock: Clock) -> None:
    failed = bed.submit()[0]
    bed.fail(failed)
    for _ in range(2):
        assert [due.id for due in bed.backend.sweep(10, []).failed] == [failed.message.id]
        assert bed.backend.sweep(10, []).failed == []
        clock.seconds += 10.0
    bed.backend.buried([failed.message.id])
    assert bed.backend.sweep(10, []).failed == []


def test_a_flood_of_due_delays_stands_behind_an_ended_lease(bed: BackendBed, clock: Clock) -> None:
    bed.submit(20, delay=1.0)
    one = bed.submit()[0]
    bed.run(one)
    clock.seconds += 15.0
    found = bed.backend.sweep(5, ["default"])
    assert [due.id for due in found.reclaimed] == [one.message.id]
    assert (found.ready, found.more) == ({"default": 5}, True)
    assert bed.backend.sweep(100, ["default"]).more is False


def test_an_unknown_task_waits_a_quarter_of_its_time_since_the_first_release(bed: BackendBed, clock: Clock) -> None:
    one = bed.submit(delay=DAY)[0]
    clock.seconds += DAY
    waits = []
    for _ in range(14):
        back = given_back(one.message.id, bed.run(one), ReleaseReason.UNKNOWN_TASK, delay=1.0)
        assert bed.backend.release([back], bed.worker) == ["ok"]
        waits.append((bed.record(one).due_at or 0) - clock.seconds)
        clock.seconds += waits[-1]
    assert [round(wait, 1) for wait in waits[:6]] == [5.0, 5.0, 5.0, 5.0, 5.0, 6.2]
    assert waits[-1] > 30
    clock.seconds += 1200.0
    back = given_back(one.message.id, bed.run(one), ReleaseReason.UNKNOWN_TASK, delay=1.0)
    bed.backend.release([back], bed.worker)
    assert (bed.record(one).due_at or 0) - clock.seconds == pytest.approx(300.0)


def test_a_worker_is_forgotten_an_hour_after_its_last_heartbeat(
    bed: BackendBed, clock: Clock, store: MemoryStore
) -> None:
    gone, stays = worker("gone"), worker("stays")
    bed.backend.heartbeat(gone, STATS, ())
    clock.seconds += 3600.0
    assert [row.identity for row in bed.backend.workers()] == [gone]
    clock.seconds += 0.001
    assert bed.backend.workers() == []
    bed.backend.heartbeat(stays, STATS, ())
    assert [row.identity for row in bed.backend.workers()] == [stays]
    assert store.get([f"worker:gone:{gone.incarnation}"]) == {}


def test_another_run_of_the_store_is_another_epoch_from_the_mark_on(
    bed: BackendBed, clock: Clock, store: MemoryStore
) -> None:
    first = bed.backend.heartbeat(bed.worker, STATS, ()).epochs[0]
    lost = delivery(submission(), first.mark_ms)
    store.run_id = "2"
    clock.seconds += 5.0
    second = bed.backend.heartbeat(bed.worker, STATS, [first]).epochs[0]
    assert second.past == (*first.past, Past(second.id, first.mark_ms))
    clock.seconds += 2 * DAY
    assert bed.claim([lost])[0].verdict is Verdict.RUN
    store.lose_everything()
    third = bed.backend.heartbeat(bed.worker, STATS, [second]).epochs[0]
    assert third.past == (Past(third.id, second.mark_ms),)


def test_a_dead_consumers_messages_are_anothers_after_the_lease(clock: Clock) -> None:
    broker = MemoryBroker(Queues(clock), lease=15.0)
    publish(broker, messages(3))
    dead, heir = (Member(broker.consumer(["default"], member=name)) for name in ("dead", "heir"))
    assert dead.step(0.0) == 3
    clock.seconds += 14.999
    assert heir.step(0.0) == 0
    clock.seconds += 0.001
    assert heir.step(0.0) == 3


def test_memory_is_for_both_or_for_neither() -> None:
    with pytest.raises(ConfigurationRefused, match="use memory:// for both or for neither"):
        brokers.open(Settings(broker="memory://", backend="redis://localhost"))
    with pytest.raises(ConfigurationRefused, match="use memory:// for both or for neither"):
        backends.open(Settings(broker="kafka://localhost", backend="memory://"))


def test_one_name_is_one_store_in_a_process(namespace: str) -> None:
    with (
        Client.connect("memory://", "memory://", namespace=namespace) as one,
        Client.connect("memory://", "memory://", namespace=namespace) as other,
        Client.connect("memory://elsewhere", "memory://elsewhere", namespace=namespace) as third,
    ):
        one.provision()
        handle = one.submit("add", 1, 2)
        assert other.query([handle.id]) == [handle.record()]
        assert third.query([handle.id]) == [None]
    with Client.connect("memory://", "memory://", namespace=namespace) as later:
        assert later.query([handle.id]) != [None]


@pytest.mark.parametrize("setting", ["broker", "backend"])
def test_a_command_refuses_the_memory_tier(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", f"--{setting}", "memory://", "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"]) == 2
    assert f"{setting} = 'memory://': memory belongs to one process" in capsys.readouterr().err

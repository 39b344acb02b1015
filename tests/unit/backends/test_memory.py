"""The memory tier beyond its contracts: a clock of the test's own, and what one process shares."""

from __future__ import annotations

import pytest

from yadtq_core import Client
from yadtq_core.backends import memory as backends
from yadtq_core.backends.memory import MemoryStore
from yadtq_core.brokers import memory as brokers
from yadtq_core.brokers.memory import MemoryBroker, Queues
from yadtq_core.cli.app import run
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.model import Past, Status, Verdict
from yadtq_core.records import StoreBackend
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import STATS, BackendBed, delivery, outcome, submission, worker
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


def test_the_queue_check_of_a_waiting_record_doubles(bed: BackendBed, clock: Clock) -> None:
    one = bed.submit()[0]
    waits = []
    for _ in range(7):
        bed.backend.confirm([(one.message.id, "0:1")])
        began = clock.seconds
        while not bed.due():
            clock.seconds += 15.0
        waits.append((clock.seconds - began) / 60)
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_released_record_is_due_every_second_and_a_failed_one_after_the_grace(bed: BackendBed, clock: Clock) -> None:
    offered, failed = bed.submit(2)
    bed.backend.offer([offered])
    bed.fail(failed)
    assert len(bed.backend.sweep(10, 10)[1]) == 2
    clock.seconds += 1.0
    assert [due.id for due in bed.backend.sweep(10, 10)[1]] == [offered.message.id]
    clock.seconds += 9.0
    assert {due.id for due in bed.backend.sweep(10, 10)[1]} == {offered.message.id, failed.message.id}
    bed.backend.confirm([(offered.message.id, "0:1")])  # published again; it still waits only for a slot
    clock.seconds += 1.0
    assert bed.backend.sweep(10, 10)[1][0].id == offered.message.id


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

"""The index of each record: every unfinished one has one, and a wrong or huge position makes none unreachable."""

from __future__ import annotations

import pytest

from yadtq_core.backends.memory import MemoryStore
from yadtq_core.model import Placed, ReleaseReason, Status
from yadtq_core.model.terms import OFFSETS
from yadtq_core.records import StoreBackend, decode
from yadtq_core.records.indexes import ALL, index_of, scores
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import STATS, BackendBed, given_back, outcome

LAST = (2**15 - 1, OFFSETS - 1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def bed(store: MemoryStore) -> BackendBed:
    return BackendBed(lambda **given: StoreBackend(store, Settings(**given)))


def listed(store: MemoryStore) -> list[str]:
    """Return the index of each record, in the order of their submission; check that the store agrees."""
    for entry in store.entries.values():
        assert index_of(decode(entry.data)) == entry.listed
    names = {entry.listed[0] for entry in store.entries.values() if entry.listed}
    assert sum(store.size(name) for name in names) == sum(bool(entry.listed) for entry in store.entries.values())
    return [entry.listed[0] if entry.listed else "" for entry in store.entries.values()]


def test_a_record_moves_from_index_to_index_through_its_life(bed: BackendBed, store: MemoryStore) -> None:
    one = bed.submit(queue="fast")[0]
    task_id = one.message.id
    assert listed(store) == ["open"]
    bed.backend.confirm([Placed(task_id, "fast", "3:7")])
    assert listed(store) == ["waiting:fast"]
    first = bed.lost(one)
    assert listed(store) == ["open"]
    bed.backend.sweep(10, [])
    assert listed(store) == ["ready:fast"]
    bed.backend.extend([bed.hold(one, first)], bed.worker)
    assert listed(store) == ["open"]
    bed.backend.release([given_back(task_id, first, ReleaseReason.UNKNOWN_TASK, delay=5.0)], bed.worker)
    assert listed(store) == ["scheduled"]
    bed.backend.cancel([task_id], "enough")
    assert listed(store) == [""]


def test_a_failed_record_is_open_until_it_is_buried(bed: BackendBed, store: MemoryStore) -> None:
    one = bed.submit()[0]
    bed.fail(one)
    assert listed(store) == ["open"]
    bed.backend.buried([one.message.id])
    assert listed(store) == [""]


@pytest.mark.parametrize(
    "position",
    ["", "7", "a:b", "0:-1", " 0:1", "0:1\n", "\u0660:\u0661", "32768:0", "0:274877906944", "0:9999999999999", "1:2:3"],
)
def test_a_position_without_a_score_leaves_its_record_open(bed: BackendBed, store: MemoryStore, position: str) -> None:
    one = bed.submit()[0]
    bed.backend.confirm([Placed(one.message.id, "default", position)])
    assert listed(store) == ["open"]


def test_the_last_offset_of_the_last_partition_has_the_last_score(bed: BackendBed, store: MemoryStore) -> None:
    epochs = bed.backend.heartbeat(bed.worker, STATS, ()).epochs
    partition, offset = LAST
    one = bed.submit()[0]
    bed.backend.confirm([Placed(one.message.id, "default", f"{partition}:{offset}")])
    assert store.highest("waiting:default", *ALL) == 2**53 - 1
    assert bed.backend.highest("default", [0, partition, partition + 1, -1]) == {partition: offset}
    assert bed.backend.recover("default", [(partition - 1, 0, 2**63), (partition, 0, offset)], epochs) == 0
    assert bed.backend.recover("default", [(partition, offset, 2**63)], epochs) == 1
    assert bed.record(one).status is Status.QUEUED
    assert listed(store) == ["ready:default"]


@pytest.mark.parametrize("partition", [-1, 2**15])
def test_no_record_waits_in_a_partition_without_scores(partition: int) -> None:
    low, high = scores(partition)
    assert low == high


def test_a_range_that_ends_before_it_begins_is_empty() -> None:
    assert scores(1, 9, 5) == (OFFSETS + 9, OFFSETS + 9)
    assert scores(1, -5, 2) == (OFFSETS, OFFSETS + 2)


def test_at_most_two_hundred_are_recovered_in_one_call(bed: BackendBed) -> None:
    epochs = bed.backend.heartbeat(bed.worker, STATS, ()).epochs
    ones = bed.submit(250)
    bed.backend.confirm(
        [Placed(one.message.id, "default", f"{number % 2}:{number}") for number, one in enumerate(ones)]
    )
    ranges = [(0, 0, 1000), (1, 0, 1000)]
    assert [bed.backend.recover("default", ranges, epochs) for _ in range(3)] == [200, 50, 0]


def test_a_retry_is_scheduled_and_an_end_is_nowhere(bed: BackendBed, store: MemoryStore) -> None:
    again, ended = bed.submit(2)
    bed.finish(outcome(again.message.id, bed.run(again), Status.SCHEDULED))
    bed.finish(outcome(ended.message.id, bed.run(ended)))
    assert sorted(listed(store)) == ["", "scheduled"]

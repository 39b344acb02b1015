"""Several shards: any mix of IDs in one question, answered in its order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import new_id, shard_of
from yadtq_core.model.terms import TAKE_BYTES
from yadtq_core.testing.contracts.backend_bed import given_back, outcome


@pytest.fixture
def wide(make_bed: Callable[..., Bed]) -> Bed:
    """A namespace of five shards."""
    return make_bed(shards=5)


def test_a_life_over_several_shards(wide: Bed) -> None:
    ones = wide.submit(60)
    assert {shard_of(one.message.id, 5) for one in ones} == set(range(5))
    wide.confirm(*ones)
    answers = wide.claim(ones)
    holds = [wide.hold(one, answer) for one, answer in zip(ones, answers, strict=True)]
    assert wide.backend.extend(holds, wide.worker) == ["ok"] * 60
    assert sorted(wide.backend.held(wide.worker)) == sorted(holds)

    wrong = set(range(0, 60, 7))
    codes = wide.finish(
        *(
            outcome(one.message.id, answer.fence + (number in wrong), result=b"%d" % number)
            for number, (one, answer) in enumerate(zip(ones, answers, strict=True))
        )
    )
    assert codes == ["fenced" if number in wrong else "ok" for number in range(60)]
    records = wide.backend.get([one.message.id for one in ones])
    assert [record.result for record in records if record] == [
        None if number in wrong else b"%d" % number for number in range(60)
    ]
    rest = [(ones[number], answers[number]) for number in sorted(wrong)]
    wide.backend.release([given_back(one.message.id, answer) for one, answer in rest], wide.worker)
    assert set(wide.take()) == {one.message.id for one, _ in rest}
    assert wide.backend.counts().queues == {"default": {"queued": 9}} == wide.scan()
    assert wide.backend.cancel([one.message.id for one, _ in rest], "enough") == ["cancelled"] * 9


def test_no_shard_starves_beside_another(wide: Bed) -> None:
    ones = [wide.submit(id=new_id()[:-2] + end)[0] for end in ("00", "01") for _ in range(20)]
    wide.backend.offer(ones)
    taken = wide.take(20)
    assert len(taken) == 20
    assert {shard_of(each, 5) for each in taken} == {0, 1}
    single = [shard_of(each, 5) for _ in range(10) for each in wide.take(1)]
    assert set(single) == {0, 1}, "each call begins with another shard"
    assert len(single) == 10


def test_the_bodies_of_one_answer_are_bounded_over_all_shards(wide: Bed) -> None:
    large = b'[["%b"],{}]' % (b"x" * (TAKE_BYTES // 4))
    ones = [wide.submit(id=new_id()[:-2] + end, arguments=large)[0] for end in ("00", "01", "02", "03", "04")]
    wide.backend.offer(ones)
    assert [len(wide.take()) for _ in range(3)] == [3, 2, 0]

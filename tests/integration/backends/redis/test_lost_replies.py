"""A reply that is lost on its way: the call is sent again and gets the same answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import pytest
import redis

from tests.integration.backends.redis.bed import Bed
from yadtq_core.backends.redis import scripts
from yadtq_core.backends.redis.backend import RedisBackend
from yadtq_core.errors import BackendUnavailable
from yadtq_core.model import Delivery, Status
from yadtq_core.net.redis_client import Store
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import STATS, given_back, outcome, submission
from yadtq_core.wire import envelope

T = TypeVar("T")


class Line:
    """The line to a Redis on which replies get lost, after the command was carried out."""

    def __init__(self, bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
        self._execute: Callable[..., Any] = bed.store._execute
        self.losing = self.kept = 0
        monkeypatch.setattr(bed.store, "_execute", self.execute)

    def execute(self, *command: Any) -> Any:
        """Carry out a command, and perhaps lose its reply."""
        answer = self._execute(*command)
        if self.losing and self.kept:
            self.kept -= 1
        elif self.losing:
            self.losing -= 1
            raise redis.ConnectionError("Connection closed by server.")
        return answer

    def lost(self, call: Callable[[], T], times: int = 1, after: int = 0) -> T:
        """Return the answer of a call whose first replies are lost, or those after the first ones."""
        self.losing, self.kept = times, after
        return call()


@pytest.fixture
def line(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Line:
    """The line of this test's store."""
    return Line(bed, monkeypatch)


def test_a_life_in_which_each_reply_is_lost_once(bed: Bed, line: Line) -> None:
    given = [submission() for _ in range(4)]
    codes = [made.code for made in line.lost(lambda: bed.backend.create(given))]
    assert codes == ["exists"] * 4
    kept = line.lost(lambda: bed.backend.messages([one.message.id for one in given]))
    ones = [Delivery(envelope.decode(cast(bytes, body)), cast(bytes, body)) for body in kept]

    answers = line.lost(lambda: bed.claim(ones))
    assert [answer.verdict for answer in answers] == ["run"] * 4
    assert [answer.attempt for answer in answers] == [1] * 4
    hold = bed.hold(ones[0], answers[0], "0.5")
    assert line.lost(lambda: bed.backend.extend([hold], bed.worker)) == ["ok"]
    assert line.lost(lambda: bed.finish(outcome(ones[0].message.id, answers[0]))) == ["already"]
    assert line.lost(lambda: bed.finish(outcome(ones[1].message.id, answers[1], Status.FAILED))) == ["already"]
    assert line.lost(lambda: bed.backend.release([given_back(ones[2].message.id, answers[2])], bed.worker)) == ["ok"]
    for number, code in ((2, "cancelled"), (3, "requested")):  # the second line of a cancel carries its script
        assert line.lost(functools.partial(bed.backend.cancel, [ones[number].message.id], "enough"), after=1) == [code]
    line.lost(lambda: bed.backend.buried([ones[1].message.id]))
    beat = line.lost(lambda: bed.backend.heartbeat(bed.worker, STATS, ()))
    assert len(beat.epochs[0].past) == 1

    assert bed.backend.counts().ended == {"success": 1, "failed": 1, "cancelled": 1}
    assert bed.backend.counts().queues == {"default": {"processing": 1}} == bed.scan()


def test_a_line_that_stays_broken_is_unavailable(bed: Bed, line: Line) -> None:
    with pytest.raises(BackendUnavailable):
        line.lost(bed.submit, times=2)
    assert len(bed.submit()) == 1


class Between(Store):
    """A store at which something else happens between the two calls of a sweep."""

    def __init__(self, bed: Bed, happens: Callable[[], object]) -> None:
        self._bed, self._happens = bed, happens

    def run_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Answer; after the reading of what is due the other thing happens."""
        answers = self._bed.store.run_many(commands)
        if commands[0][1] == scripts.DUE.sha:
            self._happens()
        return answers


def test_of_two_sweepers_that_read_the_same_ids_one_gets_each(bed: Bed) -> None:
    ones = bed.submit(3)
    for one in ones:
        bed.lost(one)
    first: list[str] = []

    def other_sweep() -> None:
        first.extend(due.id for due in bed.backend.sweep(2, ()).reclaimed)

    store = Between(bed, other_sweep)
    second = [due.id for due in RedisBackend(store, Settings(namespace=bed.namespace)).sweep(100, ()).reclaimed]
    assert (len(first), len(second)) == (2, 1)
    assert {*first, *second} == {one.message.id for one in ones}
    assert [bed.record(one).lost for one in ones] == [1, 1, 1]


def test_a_record_claimed_between_the_two_calls_of_a_sweep_is_left_alone(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.lost(one)
    store = Between(bed, lambda: bed.run(one))
    assert RedisBackend(store, Settings(namespace=bed.namespace)).sweep(100, ()).reclaimed == []
    assert bed.record(one).status is Status.PROCESSING

"""Watch: the end of a task is pushed to whoever waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.backend.bed import Bed, outcome, submission
from tests.waiting import wait_until
from yadtq_core.backends.redis import RedisSubscription
from yadtq_core.errors import BackendUnavailable
from yadtq_core.local import LocalValkey
from yadtq_core.model import Status


@pytest.fixture
def mine(bed: Bed) -> Iterator[RedisSubscription]:
    """A subscription of this test's backend."""
    subscription = bed.backend.subscribe()
    yield subscription
    subscription.close()


def test_every_end_is_pushed(bed: Bed, mine: RedisSubscription) -> None:
    success, failed, cancelled, retried, marked, poison = ones = bed.submit(6)
    assert bed.backend.watch([one.message.id for one in ones], mine.channel) == [False] * 6
    answers = bed.claim([success, failed, retried])
    bed.finish(outcome(success.message.id, answers[0]), outcome(failed.message.id, answers[1], Status.FAILED))
    bed.finish(outcome(retried.message.id, answers[2], Status.SCHEDULED))
    bed.backend.cancel([cancelled.message.id], "enough")
    bed.lost(marked)
    bed.backend.cancel([marked.message.id], "enough")
    for _ in range(4):
        bed.lost(poison)
    bed.claim([marked, poison])

    pushed = set(mine.wait(5) or ())
    assert pushed == {one.message.id for one in (success, failed, cancelled, marked, poison)}
    assert bed.backend.watch([retried.message.id], mine.channel) == [False]


def test_a_watch_of_what_has_ended_is_answered_at_once(bed: Bed, mine: RedisSubscription) -> None:
    ended, damaged = bed.submit(2)
    bed.finish(outcome(ended.message.id, bed.run(ended)))
    bed.store.run("SET", bed.key("task", damaged), "x")
    never = submission().message.id
    assert bed.backend.watch([ended.message.id, damaged.message.id, never], mine.channel) == [True] * 3
    assert bed.backend.get([never]) == [None]


def test_several_wait_for_one_task(bed: Bed) -> None:
    one = bed.submit()[0]
    waiting = [bed.backend.subscribe() for _ in range(3)]
    for subscription in (*waiting, waiting[0]):
        bed.backend.watch([one.message.id], subscription.channel)
    bed.finish(outcome(one.message.id, bed.run(one)))
    assert [subscription.wait(5) for subscription in waiting] == [[one.message.id]] * 3
    for subscription in waiting:
        subscription.close()
    assert "wt" not in bed.fields(one)


def test_a_wait_without_a_push_ends_in_time(mine: RedisSubscription) -> None:
    began = time.monotonic()
    assert mine.wait(0.05) == []
    assert 0.04 < time.monotonic() - began < 1


def test_a_wait_ends_when_another_thread_closes_it(bed: Bed) -> None:
    mine = bed.backend.subscribe()
    came: list[object] = []
    waiter = threading.Thread(target=lambda: came.append(mine.wait(30)))
    waiter.start()
    began = time.monotonic()
    mine.close()
    waiter.join(5)
    assert came == [[]]
    assert time.monotonic() - began < 2
    assert mine.wait(30) == []
    mine.close()


def test_a_lost_connection_is_told_once_and_pushes_go_on(own_bed: Bed) -> None:
    bed, mine = own_bed, own_bed.backend.subscribe()
    one = bed.submit()[0]
    bed.backend.watch([one.message.id], mine.channel)
    bed.store.run("CLIENT", "KILL", "TYPE", "pubsub")
    assert mine.wait(5) is None
    bed.finish(outcome(one.message.id, bed.run(one)))
    assert mine.wait(5) == [one.message.id]
    mine.close()


def test_a_store_that_stays_away_is_said_within_the_timeout(
    make_valkey: Callable[..., LocalValkey], namespace: str
) -> None:
    server = make_valkey(aof=False)
    bed = Bed(server.url, namespace)
    mine = bed.backend.subscribe()
    server.stop()
    with pytest.raises(BackendUnavailable):
        mine.wait(0.3)
    server.start()
    found: list[object] = []

    def again() -> bool:
        try:
            found.append(mine.wait(1))
        except BackendUnavailable:
            return False
        return True

    wait_until(again, "the subscription is made anew")
    assert found == [None]
    mine.close()

"""Watch: the end of a task is pushed to each client that waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.backends.redis.bed import Bed
from tests.waiting import wait_until
from yadtq_core.errors import BackendUnavailable
from yadtq_core.interfaces import Subscription
from yadtq_core.testing.contracts.backend_bed import outcome
from yadtq_local import LocalValkey


@pytest.fixture
def mine(bed: Bed) -> Iterator[Subscription]:
    """A subscription of this test's backend."""
    subscription = bed.backend.subscribe()
    yield subscription
    subscription.close()


def test_a_watch_of_a_damaged_record_is_answered_at_once(bed: Bed, mine: Subscription) -> None:
    damaged = bed.submit()[0]
    bed.store.run("SET", bed.key("task", damaged), "x")
    assert bed.backend.watch([damaged.message.id], mine.channel) == [True]


def test_a_lost_connection_is_reported_once_and_pushes_go_on(own_bed: Bed) -> None:
    bed, mine = own_bed, own_bed.backend.subscribe()
    one = bed.submit()[0]
    bed.backend.watch([one.message.id], mine.channel)
    bed.store.run("CLIENT", "KILL", "TYPE", "pubsub")
    assert mine.wait(30) is None
    bed.finish(outcome(one.message.id, bed.run(one)))
    assert mine.wait(30) == [one.message.id]
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
            found.append(mine.wait(5))
        except BackendUnavailable:
            return False
        return True

    wait_until(again, "the subscription is made anew")
    assert found == [None]
    mine.close()

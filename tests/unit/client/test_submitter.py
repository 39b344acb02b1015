"""The answers of a submit during every kind of failure of the services: accepted, refused or unknown."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from msgspec import structs

from tests.unit.client.memory import Installation
from tests.waiting import wait_until
from yadtq_core import (
    BackendUnavailable,
    BrokerUnavailable,
    Client,
    ConfigurationRefused,
    IdConflict,
    InvalidInput,
    OutcomeUnknown,
    Status,
    YadtqError,
)
from yadtq_core.client import submitter

GIVEN = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"


def failing(method: str, error: Exception, times: int = 1) -> Callable[[str, Sequence[Any]], None]:
    """Make a backend's method raise the first `times` times."""
    left = [times]

    def hook(name: str, items: Sequence[Any]) -> None:
        if name == method and left[0] > 0:
            left[0] -= 1
            raise error

    return hook


def test_the_order_is_record_then_message_then_confirmation(place: Installation, client: Client) -> None:
    handle = client.submit("total", 1, 2)
    record = place.backend.records[handle.id]
    assert record.status is Status.QUEUED
    message = msgspec.json.decode(place.broker.messages[0].body)
    assert message["submitted_at"] == int(record.submitted_at * 1000), "the message carries Redis's time"
    assert place.broker.timestamps == [message["submitted_at"]]
    wait_until(lambda: place.backend.positions == {handle.id: "0:0"}, "the position is confirmed behind the caller")
    assert [name for name, _ in place.backend.calls] == ["create", "confirm"]


def test_on_streams_the_record_is_all_that_is_written(place: Installation, client: Client) -> None:
    place.broker.streams = True
    handle = client.submit("total", 1, 2)
    client.using(id=handle.id).submit("total", 1, 2)
    client.close()
    assert place.backend.positions == {handle.id: "stream:default"}
    assert place.broker.messages == []
    assert [name for name, _ in place.backend.calls] == ["create", "create"]


def test_nothing_is_opened_before_it_is_needed(place: Installation) -> None:
    client = place.client()
    assert place.opened == 0
    assert client.query([GIVEN]) == [None]
    assert place.opened == 1
    assert place.broker.ensured == []
    client.submit("total")
    client.submit("total")
    assert place.broker.ensured == ["default"], "a topic is looked at once"


def test_a_delayed_call_is_accepted_with_its_record(place: Installation, client: Client) -> None:
    handle = client.using(delay=60).submit("total")
    assert place.backend.records[handle.id].status is Status.SCHEDULED
    assert place.broker.messages == []


def test_the_same_call_again_is_the_same_task(place: Installation, client: Client) -> None:
    again = client.using(id=GIVEN)
    again.submit("total", 1)
    wait_until(lambda: place.backend.positions, "confirmed")
    assert again.submit("total", 1).id == GIVEN
    assert len(place.broker.messages) == 1, "it is with the broker already"
    with pytest.raises(IdConflict) as caught:
        again.submit("total", 2)
    assert caught.value.task_id == GIVEN


def test_a_record_whose_message_is_missing_is_published_again(place: Installation, client: Client) -> None:
    client.using(id=GIVEN).submit("total", 1)
    wait_until(lambda: place.backend.positions, "confirmed")
    place.backend.positions.clear()
    before = place.backend.time_ms()
    client.using(id=GIVEN).submit("total", 1)
    assert len(place.broker.messages) == 2
    assert place.broker.timestamps[1] >= before, "its age counts from now on for the broker"


def test_a_record_that_runs_and_whose_message_is_missing_is_published_too(place: Installation, client: Client) -> None:
    """A sweep took it before the broker had it: lost with its worker, its record would leave nothing behind."""
    client.using(id=GIVEN).submit("total", 1)
    wait_until(lambda: place.backend.positions, "confirmed")
    place.backend.positions.clear()
    place.backend.records[GIVEN] = structs.replace(place.backend.records[GIVEN], status=Status.PROCESSING)
    client.using(id=GIVEN).submit("total", 1)
    assert len(place.broker.messages) == 2


def test_a_broker_that_is_away_refuses_before_anything_is_written(place: Installation, client: Client) -> None:
    place.broker.unreachable = True
    with pytest.raises(BrokerUnavailable):
        client.submit("total")
    assert place.backend.records == {}
    place.broker.unreachable = False
    assert client.submit("total").status() is Status.QUEUED


def test_a_queue_without_a_topic_is_refused_and_does_not_touch_others(place: Installation, client: Client) -> None:
    place.broker.queues = {"default"}
    with pytest.raises(ConfigurationRefused, match="yadtq provision"):
        client.using(queue="slow").submit("total")
    assert place.backend.records == {}
    assert client.submit("total").status() is Status.QUEUED


def test_a_queue_that_the_settings_name_is_created(place: Installation, client: Client) -> None:
    place.broker.queues = set()
    assert client.submit("total").status() is Status.QUEUED
    assert client.submit("total").status() is Status.QUEUED
    assert place.broker.created == ["default"], "once"


def test_a_broker_that_may_not_create_a_topic_refuses_with_the_command(place: Installation, client: Client) -> None:
    place.broker.queues = set()
    place.broker.may_create = False
    with pytest.raises(ConfigurationRefused, match="topic of default does not exist: run `yadtq provision`"):
        client.submit("total")
    assert place.backend.records == {}


def test_a_backend_that_is_away_at_the_start_refuses(place: Installation) -> None:
    place.backend.before = failing("check", BackendUnavailable("away"))
    client = place.client()
    with pytest.raises(BackendUnavailable):
        client.submit("total")
    assert client.submit("total").status() is Status.QUEUED


def test_a_store_that_is_full_refuses(place: Installation, client: Client) -> None:
    place.backend.before = failing("create", ConfigurationRefused("the result store is full"))
    with pytest.raises(ConfigurationRefused, match="full"):
        client.submit("total")
    assert place.broker.messages == []


def test_a_lost_reply_of_the_backend_is_an_unknown_outcome(place: Installation, client: Client) -> None:
    place.backend.after = failing("create", BackendUnavailable("connection lost"))
    with pytest.raises(OutcomeUnknown, match="connection lost") as caught:
        client.using(id=GIVEN).submit("total")
    assert caught.value.task_ids == (GIVEN,)
    assert GIVEN in place.backend.records, "the sweeps will publish it"


def test_after_a_lost_reply_a_backend_that_is_still_away_refuses(
    place: Installation, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.backend.before = failing("create", BackendUnavailable("away"))
    with pytest.raises(OutcomeUnknown):
        client.submit("total")

    def away(_: object) -> None:
        raise BackendUnavailable("still away")

    with monkeypatch.context() as patched:
        patched.setattr(place.backend, "get", away)  # a server that loads its data tells the time, but no record
        with pytest.raises(BackendUnavailable, match="still away"):
            client.submit("total")
    assert client.submit("total").status() is Status.QUEUED


def test_a_missing_acknowledgement_is_an_unknown_outcome_within_the_timeout(place: Installation) -> None:
    client = place.client(submit_timeout=0.2)
    place.broker.silent = True
    begun = time.monotonic()
    with pytest.raises(OutcomeUnknown, match=r"has not acknowledged it within 0\.2 s") as caught:
        client.submit("total")
    assert 0.18 <= time.monotonic() - begun < 4.0  # without the setting 5
    place.broker.speak()
    (late,) = caught.value.task_ids
    wait_until(lambda: late in place.backend.positions, "a late acknowledgement is confirmed too")


def test_too_many_unacknowledged_messages_refuse_before_anything_is_written(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitter, "MAX_OUTSTANDING", 2)
    client = place.client(submit_timeout=0.1)
    place.broker.silent = True
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            client.submit("total")
    with pytest.raises(BrokerUnavailable, match="has not acknowledged 2 earlier messages"):
        client.submit("total")
    assert len(place.backend.records) == 2
    place.broker.speak()
    client.submit("total")


def test_confirm_record_returns_when_the_record_is_written(place: Installation) -> None:
    client = place.client(confirm="record", submit_timeout=60.0)
    place.broker.silent = True
    begun = time.monotonic()
    handle = client.submit("total")
    assert time.monotonic() - begun < 30
    assert handle.status() is Status.QUEUED
    assert place.backend.positions == {}
    threading.Timer(0.2, place.broker.speak).start()
    client.close()
    assert place.backend.positions == {handle.id: "0:0"}, "close waits for the broker and confirms"
    assert place.broker.closed
    assert place.backend.closed


@pytest.mark.slow
def test_confirm_record_survives_the_loss_of_the_broker(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitter, "MAX_OUTSTANDING", 2)
    client = place.client(confirm="record", submit_timeout=1.0)
    place.broker.silent = True
    begun = time.monotonic()
    for _ in range(10):
        client.submit("total")
    assert time.monotonic() - begun < 6.0, "only the first that finds no room waits for it"
    assert len(place.backend.records) == 10
    assert len(place.broker.messages) == 2, "the rest is left to the sweeps"


def test_threads_that_share_a_client_share_its_calls(place: Installation, client: Client) -> None:
    client.submit("total")
    enough = threading.Event()

    def slow(name: str, items: Sequence[Any]) -> None:
        if name == "create":
            enough.wait(60)

    place.backend.before = slow
    threads = [threading.Thread(target=client.submit, args=("total", number)) for number in range(32)]
    for thread in threads:
        thread.start()
    group = client._opened.here().group
    wait_until(lambda: len(group._queue) == 31, "all but the leader wait")
    enough.set()
    for thread in threads:
        thread.join(60)
    assert place.backend.sizes("create") == [1, 1, 31]
    assert place.broker.batches == [1, 1, 31]


def test_one_refused_call_of_a_group_does_not_touch_the_others(place: Installation, client: Client) -> None:
    client.using(id=GIVEN).submit("total", 1)

    async def main() -> list[Any]:
        submits = [client.using(id=GIVEN).asubmit("total", 2), *(client.asubmit("total", n) for n in range(5))]
        return list(await asyncio.gather(*submits, return_exceptions=True))

    first, *others = asyncio.run(main())
    assert isinstance(first, IdConflict)
    assert {handle.status() for handle in others} == {Status.QUEUED}


def test_submits_of_coroutines_share_a_batch(place: Installation, client: Client) -> None:
    client.submit("total")
    group = client._opened.here().group

    def first_waits(name: str, items: Sequence[Any]) -> None:
        if name == "create":
            place.backend.before = lambda name, items: None
            wait_until(lambda: len(items) + len(group._queue) == 32, "the others have come")

    place.backend.before = first_waits

    async def main() -> None:
        await asyncio.gather(*(client.asubmit("total", number) for number in range(32)))

    asyncio.run(main())
    assert len(place.backend.records) == 33
    assert len(place.broker.batches) <= 3, "the one before, those who came first, all others"


def test_a_closed_client_says_so(place: Installation, client: Client) -> None:
    handle = client.submit("total")
    client.close()
    client.close()
    for use in (lambda: client.submit("total"), handle.status, client.counts, lambda: handle.result(timeout=1)):
        with pytest.raises(YadtqError, match="this client is closed"):
            use()


def test_a_client_reopens_itself_after_a_fork(place: Installation, client: Client) -> None:
    client.submit("total")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            place.backend._lock = threading.RLock()
            place.broker.changed = threading.Condition()
            handle = client.submit("total", "in the child")
            os.write(writing, f"{place.opened} {handle.status()}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert os.read(reading, 1000) == b"2 queued"
    os.close(reading)
    assert client.submit("total").status() is Status.QUEUED
    assert place.opened == 1


def test_provision_makes_the_queues(place: Installation, client: Client) -> None:
    client.provision(["default", "slow"])
    assert place.broker.created == ["default", "slow"]
    with pytest.raises(InvalidInput):
        client.provision(["Loud!"])


@pytest.mark.parametrize("confirm", ["", "kafka", None])
def test_confirm_takes_two_values(place: Installation, confirm: Any) -> None:
    with pytest.raises(InvalidInput, match='confirm is "broker" or "record"'):
        place.client(confirm=confirm)


def test_a_client_that_was_not_closed_is_warned_of(place: Installation) -> None:
    client = place.client()
    client.submit("total")
    place.clients.remove(client)
    services = client._opened.here()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del client
    services.close()

"""submit_many: chunks, bounded memory, and an answer for each call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.client.memory import Installation
from tests.unit.client.tasks import fetch, resize
from tests.unit.client.test_submitter import GIVEN, failing
from tests.waiting import wait_until
from yadtq_core import (
    BackendUnavailable,
    BrokerUnavailable,
    Call,
    Client,
    ConfigurationRefused,
    Handle,
    IdConflict,
    InvalidArguments,
    InvalidInput,
    OutcomeUnknown,
    Unavailable,
    call,
)
from yadtq_core.client import bulk


def test_answers_have_the_order_of_the_calls(place: Installation, client: Client) -> None:
    handles = client.submit_many([call(resize, "a.png"), call(fetch, "x"), call("total", 1, 2)])
    assert [message.id for message in place.broker.messages] == [handle.id for handle in handles]
    assert [place.backend.records[handle.id].task for handle in handles] == ["tests.resize", "tests.fetch", "total"]
    assert client.submit_many([]) == []


def test_many_travel_in_chunks_and_all_are_confirmed(place: Installation, client: Client) -> None:
    handles = client.submit_many(call("total", number) for number in range(2 * bulk.CHUNK + 1))
    assert place.backend.sizes("create") == place.broker.batches == [bulk.CHUNK, bulk.CHUNK, 1]
    wait_until(lambda: len(place.backend.positions) == len(handles), "all are confirmed")
    assert max(place.backend.sizes("confirm")) <= 500


def test_a_chunk_is_limited_in_bytes(place: Installation, client: Client) -> None:
    client.submit_many(call("total", "x" * 250_000) for _ in range(10))
    assert place.broker.batches == [5, 5]


def test_a_generator_is_read_no_further_than_the_broker_keeps_up(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 10)
    monkeypatch.setattr(bulk, "FIRST_WINDOW", 3)
    client = place.client(submit_timeout=0.5)
    place.broker.silent = True
    read = []

    def calls() -> Iterator[Call[Any]]:
        for number in range(1_000):
            read.append(number)
            yield call("total", number)

    with pytest.raises(OutcomeUnknown) as caught:
        client.submit_many(calls())
    assert len(place.backend.records) == 30
    assert len(caught.value.task_ids) == 30
    assert len(read) <= 41, "once the broker is silent no more is taken"


@pytest.mark.slow
def test_a_slow_broker_is_given_fewer_chunks_at_a_time(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """It acknowledges ten chunks within the submit timeout, so sixteen at a time would not be accepted."""
    monkeypatch.setattr(bulk, "CHUNK", 10)
    client = place.client(submit_timeout=2.0)
    client.submit("total")
    place.broker.silent = True
    ended = threading.Event()

    def acknowledge() -> None:
        while not ended.wait(0.2):
            place.broker.speak(10)

    acknowledging = threading.Thread(target=acknowledge)
    acknowledging.start()
    try:
        handles = client.submit_many(call("total", number) for number in range(300))
    finally:
        ended.set()
        acknowledging.join()
    assert len(handles) == 300


def test_refused_calls_do_not_stop_the_others(place: Installation, client: Client) -> None:
    client.using(id=GIVEN).submit("total", 1)
    results = client.submit_many(
        [call("total", 1), call(resize, "a").using(id=GIVEN), call("total", float("nan")), call("total", 2)],
        on_error="return",
    )
    assert [type(result) for result in results] == [Handle, IdConflict, InvalidArguments, Handle]
    assert len(place.backend.records) == 3


def test_on_error_raise_raises_the_first_refusal_at_the_end(place: Installation, client: Client) -> None:
    with pytest.raises(InvalidArguments, match="path: missing") as caught:
        client.submit_many([call("total"), call(resize), call("total"), call("../x")])  # type: ignore[call-overload]
    assert "2 of 4 calls were not accepted, the first at index 1" in caught.value.__notes__[0]
    assert len(place.backend.records) == 2


def test_an_item_that_is_no_call_is_refused_in_its_place(place: Installation, client: Client) -> None:
    wrong: Any = [("total", 1), call("total", 1)]
    results = client.submit_many(wrong, on_error="return")
    assert isinstance(results[0], InvalidInput)
    assert "write call(task, …)" in str(results[0])
    assert isinstance(results[1], Handle)
    with pytest.raises(InvalidInput, match="on_error is"):
        client.submit_many([], on_error="ignore")  # type: ignore[call-overload]


def test_once_the_broker_is_silent_the_rest_is_answered_without_being_tried(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 10)
    monkeypatch.setattr(bulk, "FIRST_WINDOW", 2)
    client = place.client(submit_timeout=0.5)
    place.broker.silent = True
    results = client.submit_many((call("total", number) for number in range(100)), on_error="return")
    assert [type(result) for result in results] == [OutcomeUnknown] * 20 + [Unavailable] * 80
    assert len(place.backend.records) == 20


def test_a_broker_that_is_away_is_asked_once(place: Installation, client: Client) -> None:
    place.broker.unreachable = True
    results = client.submit_many((call("total", number) for number in range(1200)), on_error="return")
    assert {type(result) for result in results} == {BrokerUnavailable, Unavailable}
    assert place.backend.records == {}


def test_a_lost_reply_makes_its_chunk_unknown(
    place: Installation, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 10)
    client.submit("total")
    place.backend.before = failing("create", BackendUnavailable("away"))
    with pytest.raises(OutcomeUnknown) as caught:
        client.submit_many(call("total", number) for number in range(100))
    assert len(caught.value.task_ids) == 10


def test_a_store_that_becomes_full_within_a_chunk_refuses_only_the_unwritten_calls(
    place: Installation, client: Client
) -> None:
    full = ConfigurationRefused("full")

    def fills(name: str, items: Any) -> None:
        if name == "create" and len(place.backend.records) + len(items) > 250:
            raise full

    place.backend.before = fills
    results = client.submit_many((call("total", number) for number in range(450)), on_error="return")
    assert [result is full for result in results] == [False] * 200 + [True] * 200 + [False] * 50
    assert len(place.broker.messages) == 250


def test_an_error_of_the_callers_iterator_is_raised_after_the_chunk_in_progress(
    place: Installation, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 2)

    def calls() -> Iterator[Call[Any]]:
        yield from (call("total", number) for number in range(5))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.submit_many(calls())
    assert len(place.broker.messages) == 4
    wait_until(lambda: len(place.backend.positions) == 4, "the chunk in progress is confirmed")

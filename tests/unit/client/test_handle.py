"""Waiting for tasks: pushes, missed pushes, timeouts; results and errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.client.memory import Installation
from tests.unit.client.test_submitter import GIVEN, failing
from tests.waiting import wait_until
from yadtq_core import (
    BackendUnavailable,
    CancelCode,
    Client,
    InvalidInput,
    SerializationError,
    Status,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    WaitTimeout,
    YadtqError,
    call,
)
from yadtq_core.client import again, waiter
from yadtq_core.client.results import record_as_json
from yadtq_core.model import Error, Record, Reset
from yadtq_core.plugin import load_plugins
from yadtq_core.settings import Settings

PAYLOADS = load_plugins().payloads(Settings())
AT = 1_795_000_323.25


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the local time be that of Greenwich."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def later(place: Installation, action: Callable[[], object]) -> None:
    """Run it in another thread, once a caller waits: after the backend has answered that the task has not ended."""
    asked = threading.Event()

    def look(name: str, items: object) -> None:
        if name == "watch":
            asked.set()

    def act() -> None:
        assert asked.wait(30)
        action()

    place.backend.after = look
    threading.Thread(target=act).start()


def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be asked about a second time within a test."""
    monkeypatch.setattr(again, "FIRST", 1_000.0)
    monkeypatch.setattr(again, "LONGEST", 1_000.0)


def test_a_result_is_pushed(place: Installation, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    never_again(monkeypatch)
    handle = client.submit("total", 1, 2)
    later(place, lambda: place.backend.end(handle.id, result=b"3"))
    begun = time.monotonic()
    assert handle.result(timeout=60) == 3
    assert time.monotonic() - begun < 30, "it was pushed, and not asked for when the time was up"
    assert place.backend.sizes("watch") == [1]
    assert place.backend.sizes("get") == [1], "the record is fetched once, and only when it has ended"


def test_a_result_that_is_there_already(place: Installation, client: Client) -> None:
    handle = client.submit("total", 1, 2)
    place.backend.end(handle.id, result=b'{"sum":3}')
    assert handle.result(timeout=0) == {"sum": 3}
    assert place.backend.calls[-1:] == [("get", 1)]
    assert place.backend.sizes("watch") == [], "a look is one question"
    assert handle.result() == {"sum": 3}
    assert handle.status() is Status.SUCCESS


def test_a_result_for_async_callers(place: Installation, client: Client) -> None:
    async def main() -> list[Any]:
        handles = [await client.asubmit("total", number) for number in range(50)]
        for number, handle in enumerate(handles[:25]):
            place.backend.end(handle.id, result=b"%d" % number)

        def end_the_others() -> None:
            for number, handle in enumerate(handles[25:], 25):
                place.backend.end(handle.id, result=b"%d" % number)

        later(place, end_the_others)
        return await asyncio.gather(*(handle.aresult(timeout=60) for handle in handles))

    assert asyncio.run(main()) == list(range(50))
    assert len(place.backend.sizes("watch")) < 25, "those who ask together are asked for together"


def test_an_async_wait_ends_in_time(client: Client) -> None:
    async def main() -> None:
        handle = await client.asubmit("total")
        with pytest.raises(WaitTimeout):
            await handle.aresult(timeout=0.05)
        with pytest.raises(TaskNotFound):
            await client.handle(GIVEN).aresult(timeout=30)

    asyncio.run(main())


def test_failed_and_cancelled_tasks_raise(place: Installation, client: Client) -> None:
    handle = client.submit("total")
    place.backend.end(handle.id, Status.FAILED, error=Error("ValueError", "no sum", "Traceback…"))
    with pytest.raises(TaskFailed, match="ValueError: no sum") as caught:
        handle.result(timeout=1)
    assert (caught.value.type, caught.value.message, caught.value.traceback) == ("ValueError", "no sum", "Traceback…")
    assert handle.wait(timeout=1).status is Status.FAILED
    cancelled = client.submit("total")
    assert cancelled.cancel("not needed") is CancelCode.CANCELLED
    with pytest.raises(TaskCancelled, match="not needed"):
        cancelled.result(timeout=1)
    assert client.cancel([cancelled.id, GIVEN]) == [CancelCode.ENDED, CancelCode.MISSING]


def test_a_wait_that_ends_before_the_task_names_its_status(client: Client) -> None:
    handle = client.submit("total")
    with pytest.raises(WaitTimeout, match=r"still queued after 0\.05 s") as caught:
        handle.result(timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(WaitTimeout):
        handle.wait(timeout=0)


def test_an_unknown_id_is_not_found_and_never_pending(client: Client) -> None:
    handle = client.handle(GIVEN)
    for ask in (handle.status, handle.record, handle.wait, lambda: handle.result(timeout=1)):
        with pytest.raises(TaskNotFound):
            ask()
    assert client.query([GIVEN, GIVEN]) == [None, None]
    assert [(error.task_id, error.reset_at) for error in client.not_found([GIVEN])] == [(GIVEN, None)]


@pytest.mark.parametrize(
    ("reset", "said"),
    [
        (
            Reset(AT, since=0.0, mark=AT - 1),
            "it was lost when the result store was reset at 2026-11-18 11:12:03.250 +0000",
        ),
        (
            Reset(AT, since=0.0, mark=0.0),
            "it is from before 2026-11-18 11:12:03.250 +0000, when the result store was empty",
        ),
        (
            Reset(AT, since=AT - 60, mark=AT - 1),
            "it was written after 2026-11-18 11:11:03.250 +0000 and lost when the result store was reset at "
            "2026-11-18 11:12:03.250 +0000",
        ),
    ],
)
@pytest.mark.usefixtures("utc")
def test_an_unknown_id_may_have_been_lost(place: Installation, client: Client, reset: Reset, said: str) -> None:
    place.backend.reset = reset
    handle = client.handle(GIVEN)

    async def awaited() -> None:
        await handle.aresult(timeout=30)

    for ask in (handle.status, handle.record, handle.wait, handle.result, lambda: asyncio.run(awaited())):
        with pytest.raises(TaskNotFound) as caught:
            ask()
        assert caught.value.reset_at == AT
        found = f"no task {GIVEN} (never submitted here, or its result has expired, or {said})"
        assert str(caught.value) == found


@pytest.mark.parametrize("timeout", [-1, float("nan"), 1e12, "5", True])
def test_timeouts_that_cannot_be(client: Client, timeout: Any) -> None:
    with pytest.raises(InvalidInput, match="timeout takes seconds from 0"):
        client.submit("total").result(timeout=timeout)


def test_a_push_that_was_missed_is_made_up_for_after_a_reconnect(
    place: Installation, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_again(monkeypatch)
    handle = client.submit("total")
    place.backend.channel.deaf = True

    def end_unheard() -> None:
        place.backend.end(handle.id)
        place.backend.channel.reconnect()

    later(place, end_unheard)
    begun = time.monotonic()
    assert handle.result(timeout=60) is None
    assert time.monotonic() - begun < 30


def test_a_push_that_never_comes_is_made_up_for_in_time(
    place: Installation, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "FIRST", 0.2)
    handle = client.submit("total")
    place.backend.channel.deaf = True
    later(place, lambda: place.backend.end(handle.id))
    begun = time.monotonic()
    assert handle.result(timeout=60) is None
    assert time.monotonic() - begun < 30


def test_a_push_that_was_missed_shows_at_the_latest_when_the_time_is_up(place: Installation, client: Client) -> None:
    handle = client.submit("total")
    place.backend.channel.deaf = True

    def end_unheard(name: str, items: object) -> None:
        if name == "watch":
            place.backend.end(handle.id, result=b"7")

    place.backend.after = end_unheard
    assert handle.result(timeout=0.3) == 7


def test_a_backend_that_is_away_for_a_while_is_waited_for(
    place: Installation, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter, "_RETRY", 0.01)
    handle = client.submit("total")

    def outage() -> None:
        place.backend.before = failing("watch", BackendUnavailable("away"), times=5)
        place.backend.channel.reconnect()
        place.backend.channel.deaf = True
        place.backend.end(handle.id)

    later(place, outage)
    assert handle.result(timeout=60) is None


def test_a_backend_that_stays_away_is_an_error(
    place: Installation, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter, "_RETRY", 0.01)
    monkeypatch.setattr(waiter, "PATIENCE", 0.1)
    handle = client.submit("total")

    def outage() -> None:
        place.backend.before = failing("watch", BackendUnavailable("away"), times=100_000)
        place.backend.channel.reconnect()

    later(place, outage)
    with pytest.raises(BackendUnavailable, match="away"):
        handle.result()


def test_closing_the_client_ends_all_waits(place: Installation, client: Client) -> None:
    handle = client.submit("total")
    later(place, client.close)
    with pytest.raises(YadtqError, match="closed while it was waiting"):
        handle.result()


@pytest.mark.slow
def test_many_are_waited_for_at_once(place: Installation, client: Client) -> None:
    handles = client.submit_many(call("total", number) for number in range(450))

    def end_all_but_the_last() -> None:
        for handle in handles[:-1]:
            place.backend.end(handle.id)

    later(place, end_all_but_the_last)
    records = client.wait_all([*handles, handles[0], client.handle(GIVEN)], timeout=1.0)
    assert [record.id if record else None for record in records] == [
        *(handle.id for handle in handles),
        handles[0].id,
        None,
    ]
    assert records[-3] is not None
    assert records[-3].status is Status.QUEUED
    assert place.backend.sizes("watch")[:3] == [200, 200, 51]


def test_several_may_wait_for_one_task(place: Installation, client: Client) -> None:
    handle = client.submit("total")
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(handle.result(timeout=60))) for _ in range(5)]
    for thread in threads:
        thread.start()
    with pytest.raises(WaitTimeout):
        handle.result(timeout=0.01)
    wait_until(lambda: len(client._opened.here().waiter._waits[handle.id]) == 5, "all wait")
    place.backend.end(handle.id, result=b"1")
    for thread in threads:
        thread.join(60)
    assert found == [1] * 5


def test_handles_of_one_task_are_equal(client: Client) -> None:
    handle = client.submit("total")
    assert handle == client.handle(handle.id)
    assert len({handle, client.handle(handle.id)}) == 1
    assert handle != handle.id
    assert repr(handle) == f"<handle {handle.id}>"


def test_a_record_in_the_shape_that_programs_read() -> None:
    record = Record(
        GIVEN, "total", Status.SUCCESS, "default", 1755103784.123, attempt=1, result=b"6",
        content_type="application/json", worker_id="w1", started_at=1755103785.0, finished_at=1755103785.5,
    )  # fmt: skip
    assert record_as_json(record, PAYLOADS) == {
        "task_id": GIVEN,
        "task": "total",
        "status": "success",
        "result": 6,
        "error": None,
        "worker_id": "w1",
        "attempt": 1,
        "submitted_at": 1755103784.123,
        "started_at": 1755103785.0,
        "finished_at": 1755103785.5,
        "queue": "default",
        "progress": None,
    }
    failed = Record(GIVEN, "total", Status.FAILED, "default", 1.0, error=Error("ValueError", "no"))
    assert record_as_json(failed, PAYLOADS)["error"] == {"type": "ValueError", "message": "no", "traceback": None}
    assert record_as_json(failed, PAYLOADS)["result"] is None


@pytest.mark.parametrize(
    ("result", "content_type", "text"),
    [(b"{", "application/json", "not JSON"), (b"\x93", "application/msgpack", "is application/msgpack")],
)
def test_a_result_that_cannot_be_read(
    place: Installation, client: Client, result: bytes, content_type: str, text: str
) -> None:
    handle = client.submit("total")
    record = Record(handle.id, "total", Status.SUCCESS, "default", 1.0, result=result, content_type=content_type)
    place.backend.records[handle.id] = record
    with pytest.raises(SerializationError, match=text):
        handle.result(timeout=1)
    assert record_as_json(record, PAYLOADS)["error"]["type"] == "SerializationError"

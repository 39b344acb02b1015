"""Events of runs: a real client of the SDK, with a transport that keeps the events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from yadtq_core import Cancelled, Retry, task
from yadtq_core.testing import Engine
from yadtq_sentry.plugin import SentryPlugin


class Kept(Transport):
    """Keeps the events of envelopes, as the JSON that would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []
        self.flushed: list[float] = []
        self.broken = False

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep the envelope, or raise."""
        if self.broken:
            raise RuntimeError("a transport that is broken")
        self.events += [json.loads(item.get_bytes()) for item in envelope.items]

    def flush(self, timeout: float, callback: Callable[[int, float], None] | None = None) -> None:
        """Record the request to flush."""
        self.flushed.append(timeout)


@pytest.fixture
def sentry() -> Iterator[Kept]:
    transport = Kept()
    sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", transport=transport, default_integrations=False)
    yield transport
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


SECRET = "4711-0815"


@task(name="shop.charge", retries=1)
def charge(card: str, how: str = "broken") -> str:
    copied = [card, {"card": card}]
    if how == "broken":
        raise ValueError(f"declined, {len(copied)} copies")
    if how == "later":
        raise Retry("later", delay=1)
    if how == "cancelled":
        raise Cancelled
    return how


def ran(*calls: tuple[Any, ...], **section: Any) -> list[str]:
    """Run the task with these arguments; return the statuses of the runs."""
    with Engine(SentryPlugin(), sections={"sentry": section}) as engine:
        for arguments in calls:
            engine.client.submit(charge, *arguments)
        outcomes = engine.run_until_idle()
        assert not engine.hook_failures
    return [outcome.status.value for outcome in outcomes]


def test_a_failure_is_reported_with_its_task(sentry: Kept) -> None:
    with Engine(SentryPlugin()) as engine:
        handle = engine.client.using(retries=0).submit(charge, SECRET)
        engine.run_until_idle()
    (event,) = sentry.events
    assert event["transaction"] == "shop.charge"
    assert event["tags"] == {
        "yadtq.task": "shop.charge",
        "yadtq.queue": "default",
        "yadtq.worker": "engine",
        "yadtq.attempt": "1",
    }
    assert event["contexts"]["yadtq"]["id"] == handle.id
    assert event["contexts"]["yadtq"]["attempt"] == 1
    assert event["level"] == "error"
    error = event["exception"]["values"][-1]
    assert (error["type"], error["value"]) == ("ValueError", "declined, 2 copies")
    assert error["mechanism"] == {"type": "yadtq", "handled": False}
    assert error["stacktrace"]["frames"][-1]["function"] == "charge"


def test_arguments_are_not_sent_unless_asked_for(sentry: Kept) -> None:
    assert sentry_sdk.get_client().options["include_local_variables"], "the SDK by itself would send them"
    ran((SECRET,))
    assert sentry.events
    assert SECRET not in json.dumps(sentry.events)
    sentry.events.clear()
    ran((SECRET,), arguments=True)
    frames = sentry.events[0]["exception"]["values"][-1]["stacktrace"]["frames"]
    assert frames[-1]["vars"]["card"] == f"'{SECRET}'"


def test_each_failed_run_is_told_with_its_attempt_and_a_trace_of_its_own(sentry: Kept) -> None:
    assert ran((SECRET,)) == ["scheduled", "failed"]
    assert [event["tags"]["yadtq.attempt"] for event in sentry.events] == ["1", "2"]
    assert len({event["contexts"]["trace"]["trace_id"] for event in sentry.events}) == 2


def test_cancellations_and_retries_are_not_reported(sentry: Kept) -> None:
    calls = ((SECRET, "fine"), (SECRET, "later"), (SECRET, "cancelled"))
    assert sorted(ran(*calls)) == ["cancelled", "failed", "scheduled", "success"]
    assert sentry.events == []


@pytest.mark.parametrize(("name", "how", "count"), [("Retry", "later", 2), ("Cancelled", "cancelled", 1)])
def test_cancellations_and_retries_are_reported_if_the_settings_ask_for_them(
    sentry: Kept, name: str, how: str, count: int
) -> None:
    ran((SECRET, how), report=[name])
    assert [event["exception"]["values"][-1]["type"] for event in sentry.events] == [name] * count


def test_arguments_that_a_task_does_not_take(sentry: Kept) -> None:
    @task(name="shop.none")
    def none() -> None:
        pass

    for report in ([], ["InvalidArguments"]):
        with Engine(SentryPlugin(), sections={"sentry": {"report": report}}) as engine:
            engine.client.submit(none)  # registers the task with the engine
            handle = engine.client.submit("shop.none", 1, 2)
            engine.run_until_idle()
            assert handle.status() == "failed"
        told = [event["exception"]["values"][-1]["type"] for event in sentry.events]
        assert told == report


def test_the_scope_holds_on_the_event_loop_and_ends_with_the_run(sentry: Kept) -> None:
    @task(name="shop.note")
    async def note(text: str) -> None:
        sentry_sdk.set_tag(text, "set")
        sentry_sdk.capture_message(text)

    with Engine(SentryPlugin()) as engine:
        engine.client.submit(note, "first")
        engine.client.submit(note, "second")
        engine.run_until_idle()
    sentry_sdk.capture_message("outside")
    tags = {event["message"]: event.get("tags", {}) for event in sentry.events}
    assert tags["first"]["yadtq.task"] == tags["second"]["yadtq.task"] == "shop.note"
    assert "first" in tags["first"]
    assert "first" not in tags["second"]
    assert tags["outside"] == {}


def test_an_error_inside_sentry_disturbs_no_task(sentry: Kept, caplog: pytest.LogCaptureFixture) -> None:
    sentry.broken = True
    assert ran((SECRET, "fine"), (SECRET,)) == ["success", "scheduled", "failed"]
    logged = [record.getMessage() for record in caplog.records if record.name == "yadtq.sentry"]
    assert logged == ["a failure of shop.charge was not sent to Sentry"] * 2


def test_the_applications_own_client_is_used_and_flushed_at_the_end(sentry: Kept) -> None:
    mine = sentry_sdk.get_client()
    ran((SECRET,), dsn="http://other@127.0.0.1:1/2")
    assert sentry_sdk.get_client() is mine
    assert mine.is_active()
    assert len(sentry.events) == 2
    (seconds,) = sentry.flushed
    assert 0 < seconds < 2

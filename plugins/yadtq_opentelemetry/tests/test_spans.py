"""The spans of submits and runs, in the test's own process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind, StatusCode

from plugins.yadtq_opentelemetry.tests.spans import Spans, is_child_of, recorded
from yadtq_core import Cancelled, InvalidInput, Retry, call, current, task
from yadtq_core.testing import Engine
from yadtq_opentelemetry.carrier import CREATED, MAX_HEADER_BYTES, created_at
from yadtq_opentelemetry.plugin import OpenTelemetryPlugin


@pytest.fixture
def spans() -> Iterator[Spans]:
    found = recorded()
    found.clear()
    yield found
    found.clear()


@pytest.fixture
def engine(spans: Spans) -> Iterator[Engine]:
    with Engine(OpenTelemetryPlugin()) as made:
        yield made
        assert not made.hook_failures


@task(name="shop.square")
def square(number: int) -> int:
    trace.get_current_span().set_attribute("seen", number)
    return number * number


def test_one_trace_from_the_submitter_through_the_queue_to_the_run(engine: Engine, spans: Spans) -> None:
    with spans.tracer.start_as_current_span("request"):
        handle = engine.client.submit(square, 3)
    (outcome,) = engine.run_until_idle()
    request, create, send = spans.one("request"), spans.one("create shop.square"), spans.one("send shop.square")
    wait, run = spans.one("wait shop.square"), spans.one("run shop.square")
    assert len(spans.all()) == 5
    assert is_child_of(create, request)
    assert all(is_child_of(span, create) for span in (send, wait, run))
    kinds = (create.kind, send.kind, wait.kind, run.kind)
    assert kinds == (SpanKind.PRODUCER, SpanKind.CLIENT, SpanKind.INTERNAL, SpanKind.CONSUMER)
    assert [link.context.span_id for link in (*send.links, *run.links)] == [create.context.span_id] * 2
    assert wait.start_time == create.start_time == send.start_time
    assert wait.end_time == run.start_time
    assert outcome.id == handle.id


def test_what_a_runs_span_says(engine: Engine, spans: Spans) -> None:
    handle = engine.client.submit(square, 3)
    engine.run_until_idle()
    told = dict(spans.one("run shop.square").attributes or {})
    waited = told.pop("yadtq.wait_seconds")
    assert isinstance(waited, float)
    assert 0 <= waited < 120
    assert told == {
        "messaging.system": "yadtq",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": handle.id,
        "messaging.client.id": "engine",
        "yadtq.task": "shop.square",
        "yadtq.attempt": 1,
        "yadtq.status": "success",
        "seen": 3,
    }
    assert spans.one("run shop.square").status.status_code is StatusCode.UNSET
    assert dict(spans.one("create shop.square").attributes or {}) == {
        "messaging.system": "yadtq",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "default",
        "messaging.message.id": handle.id,
        "yadtq.task": "shop.square",
    }


def test_a_submit_within_a_task_goes_on_with_its_trace(engine: Engine, spans: Spans) -> None:
    @task(name="shop.first")
    async def first() -> None:
        await asyncio.sleep(0)
        with spans.tracer.start_as_current_span("within"):
            await engine.client.asubmit(square, 4)

    engine.client.submit(first)
    engine.run_until_idle()
    assert is_child_of(spans.one("within"), spans.one("run shop.first"))
    assert is_child_of(spans.one("create shop.square"), spans.one("within"))
    assert is_child_of(spans.one("run shop.square"), spans.one("create shop.square"))
    assert len({span.context.trace_id for span in spans.all() if span.context}) == 1


def test_a_failed_run_says_so_with_its_exception(engine: Engine, spans: Spans) -> None:
    @task(name="shop.broken")
    def broken() -> None:
        raise ValueError("no stock")

    engine.client.submit(broken)
    engine.run_until_idle()
    run = spans.one("run shop.broken")
    assert run.status.status_code is StatusCode.ERROR
    assert run.status.description == "ValueError"
    attributes = run.attributes or {}
    assert (attributes["yadtq.status"], attributes["error.type"]) == ("failed", "builtins.ValueError")
    (event,) = run.events
    told = event.attributes or {}
    assert (event.name, told["exception.message"]) == ("exception", "no stock")
    assert "raise ValueError" in str(told["exception.stacktrace"])


def test_a_run_that_is_repeated_has_a_span_each_and_one_wait(engine: Engine, spans: Spans) -> None:
    @task(name="shop.later", retries=2)
    def later() -> None:
        if current().attempt < 3:
            raise Retry("not yet", delay=60)

    engine.client.submit(later)
    engine.run_until_idle()
    runs = [span for span in spans.all() if span.name == "run shop.later"]
    told = [((span.attributes or {})["yadtq.attempt"], (span.attributes or {})["yadtq.status"]) for span in runs]
    assert told == [(1, "failed"), (2, "failed"), (3, "success")]
    assert all(is_child_of(span, spans.one("create shop.later")) for span in runs)
    assert spans.names().count("wait shop.later") == 1
    assert [("yadtq.wait_seconds" in (span.attributes or {})) for span in runs] == [True, False, False]


def test_a_cancelled_run_is_no_error(engine: Engine, spans: Spans) -> None:
    @task(name="shop.stopped")
    def stopped() -> None:
        raise Cancelled

    engine.client.submit(stopped)
    engine.run_until_idle()
    run = spans.one("run shop.stopped")
    assert run.status.status_code is StatusCode.UNSET
    assert (run.attributes or {})["yadtq.status"] == "cancelled"
    assert not run.events


def test_an_exception_that_cannot_be_shown_still_ends_its_span(engine: Engine, spans: Spans) -> None:
    class Nasty(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    @task(name="shop.nasty")
    def nasty() -> None:
        raise Nasty

    handle = engine.client.submit(nasty)
    engine.run_until_idle()
    assert handle.status() == "failed"
    assert (spans.one("run shop.nasty").attributes or {})["yadtq.status"] == "failed"


def test_each_message_of_a_batch_has_its_span_and_the_sending_one(engine: Engine, spans: Spans) -> None:
    with spans.tracer.start_as_current_span("import"):
        engine.client.submit_many(call(square, number) for number in range(3))
    engine.run_until_idle()
    creates = [span for span in spans.all() if span.name == "create shop.square"]
    runs = [span for span in spans.all() if span.name == "run shop.square"]
    assert len(creates) == len(runs) == 3
    assert all(is_child_of(span, spans.one("import")) for span in creates)
    assert all(is_child_of(run, create) for run, create in zip(runs, creates, strict=True))
    send = spans.one("send shop.square")
    assert (send.attributes or {})["messaging.batch.message_count"] == 3
    assert [link.context.span_id for link in send.links] == [one.context.span_id for one in creates if one.context]
    assert "messaging.message.id" not in (send.attributes or {})


def test_a_batch_may_have_one_span_for_all(spans: Spans) -> None:
    with Engine(OpenTelemetryPlugin(), sections={"opentelemetry": {"create_spans": False}}) as engine:
        engine.client.submit_many(call(square, number) for number in range(3))
        engine.run_until_idle()
    (send,) = (span for span in spans.all() if span.name.startswith(("send", "create")))
    assert send.kind is SpanKind.PRODUCER
    assert (send.attributes or {})["messaging.batch.message_count"] == 3
    runs = [span for span in spans.all() if span.name == "run shop.square"]
    assert len(runs) == 3
    assert all(is_child_of(run, send) for run in runs)


def test_a_context_of_the_callers_own_is_left_as_it_is(engine: Engine, spans: Spans) -> None:
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    engine.client.using(headers={"traceparent": own, "for": "me"}).submit(square, 5)
    engine.run_until_idle()
    assert engine.submitted[0].headers["traceparent"] == own
    assert engine.submitted[0].headers["for"] == "me"
    assert "create shop.square" not in spans.names()
    run = spans.one("run shop.square")
    assert run.parent is not None
    assert (f"{run.parent.trace_id:x}", f"{run.parent.span_id:x}") == ("af7651916cd43dd8448eb211c80319c", own[36:52])


def test_baggage_reaches_the_task(engine: Engine, spans: Spans) -> None:
    seen: list[object] = []

    @task(name="shop.look")
    def look() -> None:
        seen.append(baggage.get_baggage("tenant"))

    token = context.attach(baggage.set_baggage("tenant", "acme"))
    engine.client.submit(look)
    context.detach(token)
    engine.run_until_idle()
    assert seen == ["acme"]
    assert baggage.get_baggage("tenant") is None


def test_what_does_not_fit_into_the_headers_never_refuses_a_submit(engine: Engine, spans: Spans) -> None:
    with pytest.raises(InvalidInput, match=f"headers of {MAX_HEADER_BYTES + 1} bytes; {MAX_HEADER_BYTES} at most"):
        engine.client.using(headers={"x": "y" * MAX_HEADER_BYTES})
    token = context.attach(baggage.set_baggage("much", "b" * 4000))
    engine.client.using(headers={"x": "y" * 5000}).submit(square, 1)
    context.detach(token)
    assert set(engine.submitted[0].headers) == {"x", "traceparent", CREATED}
    engine.client.using(headers={"x": "y" * (MAX_HEADER_BYTES - 2)}).submit(square, 2)
    assert set(engine.submitted[1].headers) == {"x"}
    engine.run_until_idle()
    assert spans.names().count("run shop.square") == 2


@pytest.mark.parametrize("text", ["", "soon", "-1", "9" * 19, "9" * 300, "²"])
def test_a_time_that_cannot_be_is_passed_over(text: str) -> None:
    assert created_at({CREATED: text}) is None
    assert created_at({}) is None
    assert created_at({CREATED: "1700000000000000000"}) == 1_700_000_000_000_000_000


def test_an_error_inside_opentelemetry_disturbs_no_task(
    engine: Engine, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    spans.broken.raises = True
    handles = [engine.client.submit(square, number) for number in range(3)]
    engine.run_until_idle()
    assert [handle.result(timeout=0) for handle in handles] == [0, 1, 4]
    logged = [record.getMessage() for record in caplog.records if record.name == "yadtq.opentelemetry"]
    assert logged == ["submits are not traced", *["no span of this run of shop.square"] * 3]
    assert all(record.levelno == logging.ERROR for record in caplog.records if record.name == "yadtq.opentelemetry")
    assert not trace.get_current_span().get_span_context().is_valid


def test_nothing_stays_current_after_a_run(engine: Engine, spans: Spans) -> None:
    engine.client.submit(square, 3)
    engine.run_until_idle()
    assert not trace.get_current_span().get_span_context().is_valid

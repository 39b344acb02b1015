"""The exact order in which hooks are called over submit, run, failure, retry and reclaim."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tests.unit.plugin.every_hook import EveryHook
from yadtq_core import Refuse, Retry, SubmitRefused, call, hookimpl, task
from yadtq_core.model import Message, Place, WorkerIdentity
from yadtq_core.plugin import hookspecs
from yadtq_core.testing import Engine

HOOKS = {name for name in vars(hookspecs) if name.startswith("yadtq_")}
BINDING = ["task_runner", "task_context", "retry_policy", "result_serializer"]
RUN = ["(enter)", "(runner)", "(leave)"]


def test_the_plugin_of_these_tests_has_every_hook() -> None:
    assert {name for name, _ in inspect.getmembers(EveryHook) if name.startswith("yadtq_")} == HOOKS
    assert hookspecs.EVENTS < HOOKS


def test_the_order_over_submit_run_failure_retry_and_reclaim() -> None:
    tries: list[int] = []

    @task(retries=1)
    def fails_first(number: int) -> int:
        tries.append(number)
        if len(tries) == 1:
            raise Retry(delay=60)
        return number

    plugin = EveryHook()
    calls = plugin.calls

    def since() -> list[str]:
        told = calls.copy()
        calls.clear()
        return told

    engine = Engine(plugin)
    opened = since()
    assert opened == ["settings", "configure", "serializers", "codecs", "worker_started", "child_started"]

    handle = engine.client.submit(fails_first, 7)
    assert since() == ["before_submit", "backends", "brokers", "tasks_submitted"]

    engine.run_until_idle(jump=False)
    assert since() == [
        "tasks_started", *BINDING, "(enter)", "(runner)", "(Retry)", "(leave)", "tasks_finished scheduled",
    ]  # fmt: skip

    engine.run_until_idle()
    assert since() == ["tasks_started", *RUN, "tasks_finished success"]
    assert handle.result(timeout=0) == 7

    handle = engine.client.submit(fails_first, 8)
    assert since() == ["before_submit", "tasks_submitted"]
    lost_with_its_worker(engine)
    engine.run_until_idle()
    assert since() == ["tasks_reclaimed", "tasks_started", *RUN, "tasks_finished success"]
    assert handle.result(timeout=0) == 8

    engine.close()
    assert since() == ["worker_stopping", "child_stopping", "worker_stopped"]


def lost_with_its_worker(engine: Engine) -> None:
    """Let another worker claim what waits, and be gone for longer than its lease."""
    settings = engine.client.settings
    consumer = engine.open_broker(settings).consumer(settings.queues, member="other")
    deliveries: Any = consumer.poll(10, 0.0)
    assert deliveries
    engine.open_backend(settings).claim(deliveries, WorkerIdentity("other", "gone", "host", 1, 0.0), "nonce")
    consumer.settle([Place(delivery.partition, delivery.offset) for delivery in deliveries])
    engine.advance(settings.claim_stale_seconds + 1)


def test_one_call_of_each_event_for_a_whole_batch() -> None:
    plugin = EveryHook()

    @task
    def double(number: int) -> int:
        return 2 * number

    with Engine(plugin) as engine:
        engine.client.submit_many(call(double, number) for number in range(80))
        engine.run_until_idle()
        per_batch = [name for name in plugin.calls if name.startswith(("before_submit", "tasks_"))]
    assert [name.split()[0] for name in per_batch] == [
        "before_submit", "tasks_submitted", "tasks_started", "tasks_finished",
    ]  # fmt: skip
    assert plugin.calls.count("(enter)") == 80
    assert all(plugin.calls.count(name) == 1 for name in BINDING)


class Doorkeeper:
    """Refuses tasks of one name and puts a header on the others."""

    @hookimpl
    def yadtq_before_submit(self, messages: list[Message]) -> list[Refuse | None]:
        for message in messages:
            message.headers["seen"] = "yes"
        return [Refuse("not after six") if message.task == "late" else None for message in messages]


def test_a_refused_message_does_not_touch_the_others() -> None:
    with Engine(Doorkeeper()) as engine:
        results = engine.client.submit_many([call("fine"), call("late"), call("fine")], on_error="return")
        assert [type(result).__name__ for result in results] == ["Handle", "SubmitRefused", "Handle"]
        assert str(results[1]) == "not after six (refused by plugin Doorkeeper)"
        with pytest.raises(SubmitRefused, match="not after six"):
            engine.client.submit("late")
        assert [one.headers for one in engine.submitted] == [{"seen": "yes"}] * 2
        assert engine.client.counts().total("queued") == 2


def test_headers_that_a_plugin_adds_stay_with_their_message() -> None:
    with Engine(Doorkeeper()) as engine:
        mine = {"mine": "1"}
        engine.client.using(headers=mine).submit("fine")
        assert mine == {"mine": "1"}
        assert engine.submitted[0].headers == {"mine": "1", "seen": "yes"}

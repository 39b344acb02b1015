"""Event hooks: an error in one is counted and named, and disturbs nothing else."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.plugin.every_hook import EveryHook
from yadtq_core import hookimpl, task
from yadtq_core.plugin import hookspecs
from yadtq_core.plugin.manager import Hooks
from yadtq_core.testing import Engine, EventRecorder

HEARD_BY_AN_ENGINE = sorted(hookspecs.EVENTS - {"yadtq_heartbeat", "yadtq_tasks_reclaimed"})


@task
def double(number: int) -> int:
    return 2 * number


def broken(hook: str) -> object:
    """Return a plugin whose one hook raises."""

    def method(self: object) -> None:
        raise RuntimeError("out of order")

    return type("Broken", (), {hook: hookimpl(method)})()


@pytest.mark.parametrize("hook", HEARD_BY_AN_ENGINE)
def test_a_raising_event_hook_changes_nothing_for_tasks(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    recorder = EventRecorder()
    with Engine(broken(hook), recorder) as engine:
        handles = [engine.client.submit(double, number) for number in range(3)]
        engine.run_until_idle()
        assert [handle.result(timeout=0) for handle in handles] == [0, 2, 4]
    assert dict(engine.hook_failures) == {("Broken", hook): 3 if hook == "yadtq_tasks_submitted" else 1}
    first = next(record for record in caplog.records if record.name == "yadtq.plugins")
    assert first.getMessage() == f"plugin Broken: {hook} failed (1 times in total)"
    assert first.exc_info is not None
    assert hook.removeprefix("yadtq_") in recorder.names, "the other plugins get the event"


@pytest.mark.parametrize("hook", sorted(hookspecs.EVENTS))
def test_an_error_is_logged_at_the_first_time_and_then_at_powers_of_ten(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Hooks()
    hooks.register(broken(hook))
    arguments: dict[str, Any] = dict.fromkeys(getattr(hookspecs, hook).__code__.co_varnames)
    for _ in range(120):
        hooks.notify(hook, **arguments)
    assert hooks.failures["Broken", hook] == 120
    with caplog.at_level(logging.ERROR):
        assert [record.getMessage().split("(")[1] for record in caplog.records] == [
            f"{count} times in total)" for count in (1, 10, 100)
        ]


def test_other_hooks_may_raise_and_name_their_plugin() -> None:
    class Careless:
        @hookimpl
        def yadtq_before_submit(self) -> None:
            raise RuntimeError("out of order")

    with Engine(Careless()) as engine:
        with pytest.raises(Exception, match=r"plugin Careless: yadtq_before_submit failed: RuntimeError: out of order"):
            engine.client.submit(double, 1)
        assert engine.client.counts().total("queued") == 0


class Swallows:
    """A context that swallows what its task raises."""

    @hookimpl
    def yadtq_task_context(self) -> Callable[[object], Any]:
        return lambda run: contextlib.suppress(Exception)


@task
def fails() -> None:
    raise ValueError("no")


def test_a_context_that_swallows_an_exception_makes_no_success_of_it() -> None:
    with Engine(Swallows()) as engine:
        handle = engine.client.submit(fails)
        (outcome,) = engine.run_until_idle()
        assert outcome.error is not None
        assert (handle.status(), outcome.error.type, outcome.error.message) == ("failed", "ValueError", "no")


def test_contexts_nest_in_the_order_of_registration_and_see_async_tasks() -> None:
    order: list[str] = []

    class Context:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def yadtq_task_context(self) -> Any:
            @contextlib.contextmanager
            def context(run: object) -> Any:
                order.append(f"enter {self.name}")
                yield
                order.append(f"leave {self.name}")

            return context

    @task
    async def waits() -> str:
        order.append("run")
        return "done"

    with Engine(Context("first"), Context("second")) as engine:
        handle = engine.client.submit(waits)
        engine.run_until_idle()
        assert handle.result(timeout=0) == "done"
    assert order == ["enter first", "enter second", "run", "leave second", "leave first"]


def test_a_plugin_registered_too_late_is_refused() -> None:
    with Engine() as engine, pytest.raises(Exception, match=r"comes too late.*load_plugins"):
        engine.plugins.manager.register(EveryHook(), "late")

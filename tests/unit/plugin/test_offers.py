"""Plugins that answer with what is of no use, or call sys.exit: told with the plugin's name; nothing else breaks."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import Struct

from yadtq_core import InvalidInput, PluginError, Refuse, SerializationError, call, hookimpl, task
from yadtq_core.plugin import hookspecs
from yadtq_core.plugin.manager import Hooks
from yadtq_core.testing import Engine, EventRecorder


class Level(Struct, frozen=True):
    """Settings of a plugin's own."""

    level: int = 1


class Member:
    """What a plugin offers as a serializer and a codec, with these functions."""

    def __init__(self, write: Callable[..., Any], read: Callable[..., Any], name: str = "member") -> None:
        self.name, self.content_type = name, "x/member"
        self.dumps = self.encode = write
        self.loads = self.decode = read


class Offers:
    """Offers a member, as serializer for all results or as codec."""

    def __init__(self, *, serializer: Member | None = None, codec: Member | None = None) -> None:
        self._serializer, self._codec = serializer, codec

    @hookimpl
    def yadtq_serializers(self) -> Any:
        return [self._serializer] if self._serializer else None

    @hookimpl
    def yadtq_codecs(self) -> Any:
        return [self._codec] if self._codec else None

    @hookimpl
    def yadtq_result_serializer(self) -> str | None:
        return self._serializer.name if self._serializer else None


@task
def double(number: int) -> int:
    return 2 * number


def answering(hook: str, answer: Any) -> object:
    """Return a plugin whose one hook gives this answer, or calls sys.exit if it is SystemExit."""

    def method(self: object) -> Any:
        return sys.exit(7) if answer is SystemExit else answer

    return type("Wrong", (), {hook: hookimpl(method)})()


def as_it_is(data: Any, _: str = "") -> Any:
    return data


def fails(*_: Any) -> Any:
    raise TypeError("out of order")


def error_of(*plugins: object, **settings: Any) -> str:
    """Return how a run ends beside these plugins."""
    with Engine(*plugins, **settings) as engine:
        handle = engine.client.submit(double, 3)
        engine.run_until_idle()
        record = handle.record()
        assert record is not None
        assert record.error is not None
        assert record.attempt == 1
        return f"{record.error.type}: {record.error.message}"


def left(*plugins: object, **settings: Any) -> str:
    """Return the reason why a worker with these plugins would leave a task to others."""
    with Engine(*plugins, **settings) as engine:
        handle = engine.client.submit(double, 3)
        with pytest.raises(PluginError, match=rf"a worker would leave task {double.name} to others: ") as caught:
            engine.run_until_idle()
        record = handle.record()
        assert record is not None
        assert record.error is None
        return str(caught.value).partition(" to others: ")[2]


@pytest.mark.parametrize(
    ("hook", "answer", "told"),
    [
        ("yadtq_settings", [1], "yadtq_settings gave [1], not a mapping"),
        ("yadtq_settings", {"acme": dict}, "yadtq_settings of [acme] gave <class 'dict'>, not a class made from"),
        ("yadtq_settings", {5: Level}, "yadtq_settings gave 5, not a section's name"),
        ("yadtq_settings", {"broker": Level}, "its section [broker] has the name of a setting of yadtq"),
        ("yadtq_settings", {"log": Level}, "[log] level would be read from YADTQ_LOG_LEVEL, a variable of yadtq"),
        ("yadtq_brokers", ["squid"], "yadtq_brokers gave ['squid'], not a mapping"),
        ("yadtq_serializers", "json", "yadtq_serializers gave 'json', not a list"),
        ("yadtq_codecs", 5, "yadtq_codecs gave 5, not a list"),
        ("yadtq_codecs", [5], "yadtq_codecs gave 5, which has no 'name'"),
        ("yadtq_codecs", [Member(as_it_is, as_it_is, "a,b")], "yadtq_codecs gave 'a,b', not a name"),
        ("yadtq_configure", SystemExit, "yadtq_configure failed: it called sys.exit(7)"),
    ],
)
def test_a_wrong_offer_stops_the_start_and_names_the_plugin(hook: str, answer: Any, told: str) -> None:
    with pytest.raises(PluginError) as caught, Engine(answering(hook, answer)) as engine:
        engine.client.submit(double, 1)  # opens the broker
    assert str(caught.value).startswith("plugin Wrong: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("hook", "answer", "told"),
    [
        ("yadtq_task_runner", 3, "gave 3, not a callable or None"),
        ("yadtq_task_context", 3, "gave 3, not a callable or None"),
        ("yadtq_result_serializer", [], "gave [], not a name or None"),
        ("yadtq_retry_policy", 3, "gave 3, not a RetryPolicy or None"),
        ("yadtq_retry_policy", SystemExit, "failed: it called sys.exit(7)"),
    ],
)
def test_a_wrong_binding_is_an_error_of_the_engine_that_names_the_plugin(hook: str, answer: Any, told: str) -> None:
    assert left(answering(hook, answer)).startswith(f"plugin Wrong: {hook} {told}")


@pytest.mark.parametrize("answer", [[], [None], Refuse("no"), "ab", 5, ["x", None], [None, None, Refuse("no")]])
def test_a_wrong_verdict_refuses_the_batch(answer: Any) -> None:
    with Engine(answering("yadtq_before_submit", answer)) as engine:
        with pytest.raises(PluginError, match=r"plugin Wrong: yadtq_before_submit gave .* \(here 2\)"):
            engine.client.submit_many([call(double, 1), call(double, 2)])
        assert not engine.store.entries, "nothing was written"


@pytest.mark.parametrize(
    ("value", "told"), [(b"bytes", "headers are text"), ("x" * 100_000, "headers of 100006 bytes")]
)
def test_a_wrong_header_names_the_plugins_that_may_have_added_it(value: Any, told: str) -> None:
    class Adds:
        @hookimpl
        def yadtq_before_submit(self, messages: Any) -> None:
            messages[0].headers["origin"] = value

    with Engine(Adds()) as engine, pytest.raises(InvalidInput, match=f"{told}.*yadtq_before_submit added:.*Adds"):
        engine.client.submit(double, 1)


@pytest.mark.parametrize("hook", sorted(hookspecs.EVENTS - {"yadtq_heartbeat", "yadtq_tasks_reclaimed"}))
def test_an_event_hook_that_calls_exit_changes_nothing(hook: str) -> None:
    recorder = EventRecorder()
    with Engine(answering(hook, SystemExit), recorder) as engine:
        handle = engine.client.submit(double, 3)
        engine.run_until_idle()
        assert handle.result(timeout=0) == 6
    assert dict(engine.hook_failures) == {("Wrong", hook): 1}
    assert hook.removeprefix("yadtq_") in recorder.names


def test_an_interrupt_is_let_through_in_the_main_thread_alone() -> None:
    def interrupts(self: object) -> None:
        raise KeyboardInterrupt

    hooks = Hooks()
    hooks.register(type("Wrong", (), {"yadtq_heartbeat": hookimpl(interrupts)})())
    thread = threading.Thread(target=lambda: hooks.notify("yadtq_heartbeat", worker=None, stats=None))
    thread.start()
    thread.join()
    assert hooks.failures["Wrong", "yadtq_heartbeat"] == 1
    with pytest.raises(KeyboardInterrupt):  # ctrl-C of the user
        hooks.notify("yadtq_heartbeat", worker=None, stats=None)


def test_an_event_hook_cannot_change_the_event_for_others() -> None:
    class Clears:
        @hookimpl
        def yadtq_tasks_submitted(self, messages: Any) -> None:
            messages.clear()

        @hookimpl
        def yadtq_tasks_started(self, leases: Any) -> None:
            leases.clear()

        @hookimpl
        def yadtq_tasks_finished(self, outcomes: Any) -> None:
            outcomes.clear()

    with Engine(Clears()) as engine:
        engine.client.submit(double, 3)
        assert len(engine.run_until_idle()) == 1
    assert sorted(hook for _, hook in engine.hook_failures) == [
        "yadtq_tasks_finished",
        "yadtq_tasks_started",
        "yadtq_tasks_submitted",
    ]


def generator(self: object) -> Iterator[None]:
    yield


def wraps(self: object) -> Iterator[None]:
    yield


def defaulted(self: object, settings: Any = None) -> None: ...


@pytest.mark.parametrize(
    ("hook", "method", "told"),
    [
        ("yadtq_heartbeat", hookimpl(generator), "yadtq_heartbeat is a generator"),
        ("yadtq_configure", hookimpl(generator), "yadtq_configure is a generator"),
        ("yadtq_before_submit", hookimpl(wrapper=True)(wraps), "yadtq_before_submit takes no wrapper"),
        ("yadtq_configure", hookimpl(defaulted), "remove the default of 'settings'"),
    ],
)
def test_a_hook_that_would_never_do_its_work_is_refused(hook: str, method: Any, told: str) -> None:
    with pytest.raises(PluginError, match=told):
        Hooks().register(type("Wrong", (), {hook: method})())


@pytest.mark.parametrize(("write", "told"), [(fails, "TypeError: out of order"), (lambda _: "text", "it returned str")])
def test_a_broken_serializer_fails_the_task_once_and_for_all(write: Callable[..., Any], told: str) -> None:
    assert error_of(Offers(serializer=Member(write, as_it_is))).startswith(f"Unstorable: result not member: {told}")


def test_a_result_that_a_serializer_cannot_read_is_an_error_of_ours() -> None:
    with Engine(Offers(serializer=Member(lambda _: b"", fails))) as engine:
        handle = engine.client.submit(double, 3)
        engine.run_until_idle()
        with pytest.raises(SerializationError, match="cannot be read: serializer 'member': TypeError: out of order"):
            handle.result(timeout=0)


@pytest.mark.parametrize(
    ("encode", "told"), [(fails, "TypeError: out of order"), (lambda *_: "text", "it returned str")]
)
def test_a_codec_that_cannot_encode_refuses_the_submit(encode: Callable[..., Any], told: str) -> None:
    with (
        Engine(Offers(codec=Member(encode, as_it_is)), codecs=("member",)) as engine,
        pytest.raises(SerializationError, match=f"codec 'member': {told}"),
    ):
        engine.client.submit(double, 3)


@pytest.mark.parametrize(("decode", "told"), [(fails, "TypeError: out of order"), (lambda *_: "[]", "it returned str")])
def test_a_codec_that_cannot_decode_is_an_error_of_the_engine(decode: Callable[..., Any], told: str) -> None:
    error = left(Offers(codec=Member(as_it_is, decode)), codecs=("member",))
    assert error.startswith(f"arguments are encoded by codec 'member': {told}")


def test_a_submit_inside_the_submitted_event_is_refused_without_a_deadlock() -> None:
    class Submits:
        engine: Engine

        @hookimpl
        def yadtq_tasks_submitted(self) -> None:
            self.engine.client.submit(double, 1)

    async def submit_all(engine: Engine) -> None:
        # More than one batch carries: the thread that tells of the first would wait for itself to carry the second.
        await asyncio.gather(*(engine.client.asubmit(double, number) for number in range(1000)))

    plugin = Submits()
    with Engine(plugin) as engine:
        plugin.engine = engine
        asyncio.run(asyncio.wait_for(submit_all(engine), 60))
        engine.client.submit(double, 1)
        assert len(engine.submitted) == 1001
        assert engine.hook_failures["Submits", "yadtq_tasks_submitted"] > 1

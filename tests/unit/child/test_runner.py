"""One run of a task: every result and every error ends as a `Done` that can be stored."""

from __future__ import annotations

import asyncio
import math
import os
import re
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from msgspec import structs

from yadtq_core.child.pipe import Done, Job, Unable, decode_report, frame
from yadtq_core.child.runner import MAX_TEXT, Runner
from yadtq_core.errors import CodecError, InvalidArguments, SerializationError, UnknownTask, YadtqError
from yadtq_core.model import MAX_RESULT_BYTES, Error
from yadtq_core.plugin import hookimpl, load_plugins
from yadtq_core.plugin.manager import BINDING
from yadtq_core.settings import Settings
from yadtq_core.tasks.retry import Retry
from yadtq_core.tasks.run import Cancelled, Run, current
from yadtq_core.tasks.task import Task, task
from yadtq_core.wire import envelope
from yadtq_core.wire.json_format import JsonSerializer

ID = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"


def message(task: str, arguments: bytes = b"[[],{}]", **fields: Any) -> bytes:
    """Return the body of a message with this ID."""
    return envelope.encode(envelope.build(task, arguments, id=ID, **fields))


class Stage:
    """A runner with the tasks that a test gives it."""

    def __init__(self, *more: object) -> None:
        self.tasks: dict[str, Task[..., Any]] = {}
        self.progress: list[tuple[int, str]] = []
        plugins = load_plugins(*more)
        payloads = plugins.payloads(plugins.configure(Settings()))
        self.runner = Runner(self._find, plugins, payloads, "w1", lambda *said: self.progress.append(said))

    def _find(self, name: str) -> Task[..., Any]:
        if name not in self.tasks:
            raise UnknownTask(f"unknown task {name!r}")
        return self.tasks[name]

    def run(
        self, function: Callable[..., Any], *args: Any, retries: int | None = None, attempt: int = 1, seq: int = 1
    ) -> Done:
        """Run a function, made a task if it is none, with these arguments."""
        name = f"t{len(self.tasks)}"
        self.tasks[name] = function if isinstance(function, Task) else task(function)
        return self.job(name, JsonSerializer().dumps((args, {})), retries, attempt, seq)

    def job(self, name: str, arguments: bytes, retries: int | None = None, attempt: int = 1, seq: int = 1) -> Done:
        """Run a job; its result must pass the pipe."""
        assert self.runner.bind([name]) == {}
        body = message(name, arguments, queue="slow", headers={"trace": "t"}, retries=retries)
        return self.done(Job(seq, body, attempt, 77))

    def done(self, job: Job) -> Done:
        """Run a job of a bound task; its result must pass the pipe."""
        done = self.runner.run(job)
        assert decode_report(frame(done)[4:]) == done
        assert isinstance(done, Done)
        return done

    def unable(self, body: bytes) -> str:
        """Return the reason why a job cannot begin here."""
        unable = self.runner.run(Job(3, body, 1, 77))
        assert decode_report(frame(unable)[4:]) == unable
        assert isinstance(unable, Unable)
        assert unable.seq == 3
        return unable.reason


@pytest.fixture
def stage() -> Stage:
    return Stage()


def error_of(done: Done) -> Error:
    assert (done.status, done.result, done.retry_in) == ("failed", None, None)
    assert done.error is not None
    return done.error


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


# What goes well


def test_the_result_is_json(stage: Stage) -> None:
    done = stage.run(lambda_sum, 1, 2)
    assert (done.seq, done.status, done.result, done.content_type) == (1, "success", b"3", "application/json")
    assert (done.error, done.retry_in) == (None, None)
    assert done.duration >= 0


def lambda_sum(*numbers: int) -> int:
    return sum(numbers)


def test_a_task_without_a_result_has_null(stage: Stage) -> None:
    assert stage.run(print_nothing).result == b"null"


def print_nothing() -> None: ...


def test_a_coroutine_runs_on_the_loop_of_the_child(stage: Stage) -> None:
    loops = set()

    async def wait(n: int) -> int:
        await asyncio.sleep(0)
        loops.add(id(asyncio.get_running_loop()))
        return n

    assert [stage.run(wait, n).result for n in (1, 2)] == [b"1", b"2"]
    assert len(loops) == 1


def test_slots_and_coroutines_each_see_their_own_run(stage: Stage) -> None:
    """Four slots at once, two of them with async tasks that meet while they run."""
    barrier = threading.Barrier(4, timeout=30)

    def see() -> Any:
        barrier.wait()
        return current().fence, current().attempt

    async def see_async() -> Any:
        await asyncio.to_thread(barrier.wait)
        return current().fence, current().attempt

    stage.tasks = {"a": task(name="a")(see), "b": task(name="b")(see_async)}
    found: dict[int, bytes | None] = {}

    assert stage.runner.bind("ab") == {}

    def slot(seq: int) -> None:
        found[seq] = stage.done(Job(seq, message("ab"[seq % 2]), 10 + seq, seq)).result

    threads = [threading.Thread(target=slot, args=(seq,)) for seq in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {seq: b"[%d,%d]" % (seq, 10 + seq) for seq in range(4)}


def test_a_run_knows_its_id_attempt_and_fence(stage: Stage) -> None:
    seen: list[Run] = []

    def look() -> None:
        seen.append(current())

    stage.run(look, attempt=3)
    run = seen[0]
    assert (run.id, run.attempt, run.fence, run.worker_id, run.queue) == (ID, 3, 77, "w1", "slow")
    assert run.headers == {"trace": "t"}
    assert not run.cancelled()


def test_outside_of_a_run_there_is_no_current_one(stage: Stage) -> None:
    stage.run(print_nothing)
    stage.run(raising(ValueError("x")))
    with pytest.raises(YadtqError, match="only inside a task"):
        current()


def test_progress_carries_the_number_of_the_job(stage: Stage) -> None:
    def work() -> None:
        current().progress(0.5, "half" + "!" * 1000)
        current().progress(1)

    stage.run(work, seq=9)
    assert stage.progress == [(9, "0.5 half" + "!" * 196), (9, "1")]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_progress_is_a_fraction(stage: Stage, fraction: float) -> None:
    def work() -> None:
        current().progress(fraction)

    assert error_of(stage.run(work)).type == "ValueError"
    assert stage.progress == []


# How runs end otherwise


def test_an_exception_is_kept_as_text_from_the_tasks_own_first_line_on(stage: Stage) -> None:
    error = error_of(stage.run(raising(KeyError("nobody"))))
    assert (error.type, error.message) == ("KeyError", "'nobody'")
    assert error.traceback is not None
    assert "in function" in error.traceback
    assert "yadtq_core" not in error.traceback


def test_an_exception_of_a_coroutine_has_the_same_traceback(stage: Stage) -> None:
    async def fail() -> None:
        raise LookupError("x")

    error = error_of(stage.run(fail))
    assert (error.type, error.message) == ("LookupError", "x")
    assert error.traceback is not None
    assert "in fail" in error.traceback
    assert "yadtq_core" not in error.traceback


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (SystemExit(0), "SystemExit", "the task called sys.exit(0)"),
        (SystemExit("bye"), "SystemExit", "the task called sys.exit(bye)"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (GeneratorExit(), "GeneratorExit", ""),
        (BaseException("base"), "BaseException", "base"),
        (asyncio.CancelledError(), "CancelledError", ""),
        (MemoryError(), "MemoryError", ""),
        (RecursionError("deep"), "RecursionError", "deep"),
        (StopIteration(5), "StopIteration", "5"),
        (BaseExceptionGroup("many", [SystemExit(1)]), "BaseExceptionGroup", "many (1 sub-exception)"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_nothing_that_a_task_raises_leaves_the_runner(
    stage: Stage, error: BaseException, name: str, message: str, is_async: bool
) -> None:
    async def fail() -> None:
        raise error

    async def fine() -> int:
        return 1

    found = error_of(stage.run(fail if is_async else raising(error)))
    if is_async and isinstance(error, StopIteration):  # Python's own rule for coroutines
        name, message = "RuntimeError", "coroutine raised StopIteration"
    assert (found.type, found.message) == (name, message)
    assert stage.run(fine).result == b"1"


def test_a_loop_that_a_task_stopped_or_broke_goes_on(stage: Stage) -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)

    async def exits_elsewhere() -> None:
        async def leave() -> None:
            raise SystemExit(3)

        await asyncio.create_task(leave())

    assert stage.run(stop).status == "success"
    assert error_of(stage.run(exits_elsewhere)).message == "the task called sys.exit(3)"
    assert stage.run(stop).status == "success"


def test_the_text_of_an_exception_is_never_trusted(stage: Stage) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("I will not say")

    class Quits(Exception):
        def __str__(self) -> str:
            raise SystemExit(1)

    class Wrong(Exception):
        def __str__(self) -> str:
            return 5  # type: ignore[return-value] # noqa: PLE0307 - the point of it

    assert error_of(stage.run(raising(Mute()))).message == "<its message cannot be shown: RuntimeError>"
    assert error_of(stage.run(raising(Quits()))).message == "<its message cannot be shown: SystemExit>"
    assert error_of(stage.run(raising(Wrong()))).message == "<its message cannot be shown: TypeError>"


def test_a_message_of_ten_megabytes_is_cut(stage: Stage) -> None:
    error = error_of(stage.run(raising(ValueError("x" * 10_000_000))))
    assert len(error.message) <= MAX_TEXT + 20
    assert error.message.endswith("… (cut)")
    assert error.traceback is not None
    assert len(error.traceback) <= MAX_TEXT


def test_text_that_utf8_cannot_carry_is_replaced(stage: Stage) -> None:
    assert error_of(stage.run(raising(ValueError("a\ud800b")))).message == "a?b"


def test_a_chain_of_causes_that_goes_deep_is_cut(stage: Stage) -> None:
    def dig(depth: int) -> None:
        dig(depth + 1)

    error = error_of(stage.run(dig, 0))
    assert error.type == "RecursionError"
    assert len(error.traceback or "") <= MAX_TEXT


# Results that cannot be kept


def circle() -> Any:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "result not JSON: $ is of type object, which JSON cannot represent"),
        ({"a": {1, 2}}, "result not JSON: $['a'] is of type set, which JSON cannot represent; use a list"),
        ([1.0, math.nan], "result not JSON: $[1] is nan: NaN and Infinity are not JSON"),
        ((n for n in (1, 2)), "result not JSON: $ is of type generator, which JSON cannot represent"),
        (10**5000, "result not JSON: $ is an integer of more than 4300 digits"),
        ("\ud800", "result not JSON: $ is text with a lone surrogate, which UTF-8 cannot encode"),
        ("x" * 50_000_000, f"result is 50000002 bytes, the limit is {MAX_RESULT_BYTES}; store it elsewhere"),
    ],
    ids=["object", "set", "nan", "generator", "digits", "surrogate", "50MB"],
)
def test_an_unserializable_result_fails_the_task_without_a_retry(stage: Stage, value: Any, said: str) -> None:
    def give() -> Any:
        return value

    error = error_of(stage.run(task(retries=5)(give)))
    assert error.type == "Unstorable"
    assert error.message.startswith(said)
    assert error.traceback is None


def test_a_result_that_holds_itself_fails_the_run(stage: Stage) -> None:
    assert "refers to itself" in error_of(stage.run(circle)).message


def test_a_result_at_the_limit_is_kept(stage: Stage) -> None:
    def give() -> str:
        return "x" * (MAX_RESULT_BYTES - 2)

    assert stage.run(give).status == "success"


def test_a_coroutine_that_was_not_awaited_is_no_result(stage: Stage) -> None:
    async def inner() -> None: ...

    left = inner()

    def give() -> Any:
        return left

    assert "of type coroutine" in error_of(stage.run(give)).message
    left.close()


# Arguments


def test_arguments_that_the_task_does_not_take_fail_it_without_a_retry(stage: Stage) -> None:
    @task(retries=5)
    def one(x: int) -> int:
        return x

    error = error_of(stage.run(one, 1, 2))
    assert error.type == "InvalidArguments"
    assert error.traceback is None


def test_a_check_is_asked_before_the_run(stage: Stage) -> None:
    def refuse(x: int) -> None:
        raise InvalidArguments(f"not {x}")

    ran = []

    @task(check=refuse, retries=5)
    def never(x: int) -> None:
        ran.append(x)

    assert error_of(stage.run(never, 1)).message == "not 1"
    assert ran == []


@pytest.mark.parametrize(
    "arguments",
    [b"5", b"null", b'"ab"', b"{}", b"[]", b"[[]]", b"[[],{},1]", b'["ab",{}]', b"[{},[]]", b"[[],[]]"],
)
def test_arguments_of_another_shape_are_refused_and_never_guessed(stage: Stage, arguments: bytes) -> None:
    ran = []

    @task(name="t", retries=5)
    def anything(*args: Any, **kwargs: Any) -> None:
        ran.append((args, kwargs))

    stage.tasks["t"] = anything
    assert error_of(stage.job("t", arguments)).type == "InvalidArguments"
    assert ran == []


@pytest.mark.parametrize("arguments", [b"5", b'"not base64"'])
def test_arguments_that_no_worker_can_read_fail_the_task(stage: Stage, arguments: bytes) -> None:
    stage.tasks["t"] = task(name="t", retries=5)(print_nothing)
    assert stage.runner.bind(["t"]) == {}
    found = error_of(stage.done(Job(1, message("t", arguments, codecs="zip"), 1, 77)))
    assert (found.type, found.message) == (
        "InvalidArguments",
        "arguments are not base64 text, which arguments with codecs must be",
    )


# What this child cannot begin: a fault of the worker, by which no record fails


def test_a_task_that_is_not_bound_is_left_to_others(stage: Stage) -> None:
    assert stage.runner.bind(["shop.none"]) == {"shop.none": "unknown task 'shop.none'"}
    assert stage.unable(message("shop.none")) == "task 'shop.none' is not loaded in this child"


class Binds:
    """A plugin whose binding hooks raise or answer for the task `odd`."""

    def __init__(self, hook: str, answer: Any) -> None:
        def method(_: object, task: Task[..., Any]) -> Any:
            if task.name == "odd" and isinstance(answer, BaseException):
                raise answer
            return answer if task.name == "odd" else None

        type(self).method = hookimpl(specname=hook)(method)  # type: ignore[attr-defined]


@pytest.mark.parametrize("hook", BINDING)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ValueError("out of order"), r"failed: ValueError: out of order \(.*test_runner.py, line \d+\)"),
        (SystemExit(3), r"failed: it called sys.exit\(3\)"),
        (5, "gave 5, not a"),
    ],
)
def test_a_task_whose_binding_fails_is_left_to_others_and_the_rest_runs(hook: str, answer: Any, said: str) -> None:
    stage = Stage(type("Odd", (Binds,), {})(hook, answer))
    stage.tasks = {name: task(name=name)(print_nothing) for name in ("even", "odd")}
    unbound = stage.runner.bind(["even", "odd"])
    assert list(unbound) == ["odd"]
    assert re.match(rf"plugin Odd: {hook} {said}", unbound["odd"])
    assert "odd" in stage.unable(message("odd"))
    assert stage.job("even", b"[[],{}]").status == "success"


def test_a_serializer_that_nobody_offers_leaves_the_task_to_others() -> None:
    stage = Stage(Binds("yadtq_result_serializer", "xml"))
    stage.tasks = {"odd": task(name="odd")(print_nothing)}
    assert stage.runner.bind(["odd"]) == {"odd": "yadtq_result_serializer: no serializer is named 'xml'; known: json"}


def test_a_function_without_a_signature_leaves_the_task_to_others(stage: Stage) -> None:
    stage.tasks = {"t": Task(min, name="t")}
    assert "no signature found for builtin" in stage.runner.bind(["t"])["t"]


class Codecs:
    """A plugin with codecs: `broken` cannot decode, `other` returns other bytes, as with another key."""

    class Codec:
        def __init__(self, name: str, decode: Callable[[bytes], bytes]) -> None:
            self.name, self._decode = name, decode

        def encode(self, data: bytes, _: str) -> bytes:
            return data

        def decode(self, data: bytes, _: str) -> bytes:
            return self._decode(data)

    @hookimpl
    def yadtq_codecs(self) -> list[Any]:
        def broken(_: bytes) -> bytes:
            raise SerializationError("no key")

        return [self.Codec("broken", broken), self.Codec("other", lambda _: b"\x00\x01")]


@pytest.mark.parametrize(
    ("codecs", "said"),
    [
        (
            "gone",
            "arguments are encoded by codec 'gone', which is not installed here; install the plugin that offers it",
        ),
        ("broken", "arguments are encoded by codec 'broken': no key"),
        ("other", "arguments are not JSON: .*, after they were decoded by 'other'"),
    ],
)
def test_arguments_that_a_codec_of_this_worker_cannot_read_leave_the_task_to_others(codecs: str, said: str) -> None:
    stage = Stage(Codecs())
    stage.tasks = {"t": task(name="t", retries=5)(print_nothing)}
    assert stage.runner.bind(["t"]) == {}
    assert re.fullmatch(said, stage.unable(message("t", b'"AAAA"', codecs=codecs)))


def test_a_codec_error_of_the_task_itself_is_its_failure(stage: Stage) -> None:
    assert error_of(stage.run(raising(CodecError("of another result")))).type == "CodecError"


# Retries


def test_a_failed_run_is_repeated_as_often_as_the_task_says(stage: Stage) -> None:
    failing = task(retries=2, retry_base=4.0)(raising(ValueError("x")))
    for attempt in (1, 2):
        done = stage.run(failing, attempt=attempt)
        assert (done.status, done.error and done.error.type) == ("scheduled", "ValueError")
        assert done.retry_in is not None
        assert 0 <= done.retry_in <= 8
    assert stage.run(failing, attempt=3).status == "failed"


def test_the_calls_own_retries_go_over_the_tasks(stage: Stage) -> None:
    failing = task(retries=2)(raising(ValueError("x")))
    assert stage.run(failing, retries=0).status == "failed"
    assert stage.run(failing, retries=5, attempt=5).status == "scheduled"
    assert stage.run(failing, retries=5, attempt=6).status == "failed"
    assert stage.run(raising(ValueError("x")), retries=1).status == "scheduled"


def test_a_task_may_say_when_it_is_to_run_again(stage: Stage) -> None:
    again = task(retries=1)(raising(Retry("not there yet", delay=7)))
    assert stage.run(again).retry_in == 7
    last = error_of(stage.run(again, attempt=2))
    assert (last.type, last.message) == ("Retry", "not there yet")


def test_a_delay_that_was_tampered_with_still_passes_the_pipe(stage: Stage) -> None:
    again = Retry("x", delay=Fraction(1, 2))  # type: ignore[arg-type]
    assert stage.run(task(retries=1)(raising(again))).retry_in == 0.5


# Cancelling


def test_a_task_that_gives_up_because_it_was_cancelled_ends_as_cancelled(stage: Stage) -> None:
    @task(retries=5)
    def long() -> None:
        assert current().cancelled()
        raise Cancelled

    stage.runner.cancelled.add(4)
    done = stage.run(long, seq=4)
    assert (done.status, done.error, done.retry_in) == ("cancelled", None, None)
    assert stage.runner.cancelled == set()


def test_the_cancel_of_another_run_is_ignored(stage: Stage) -> None:
    def look() -> bool:
        return current().cancelled()

    stage.runner.cancelled.add(5)
    assert stage.run(look, seq=4).result == b"false"
    assert stage.run(look, seq=5).result == b"true"


def test_a_task_that_changes_its_surroundings_does_not_harm_the_runner(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getcwd", os.getcwd)
    monkeypatch.setenv("HOME", "/nowhere")

    def upset() -> None:
        os.environ.pop("HOME")
        raise OSError(28, "No space left on device")

    assert error_of(stage.run(upset)).message == "[Errno 28] No space left on device"
    assert stage.run(lambda_sum, 1).result == b"1"


def test_a_message_that_the_child_cannot_read_is_left_to_others(stage: Stage) -> None:
    newer = message("t").replace(b'"v":1', b'"v":9')
    assert stage.unable(newer) == "format version 9, this yadtq reads 1"


def test_a_run_lost_with_its_worker_uses_up_no_retry() -> None:
    stage = Stage()
    stage.tasks["flaky"] = task(retries=1)(_fails)
    assert stage.runner.bind(["flaky"]) == {}
    job = Job(1, message("flaky"), 3, 77, lost=2)
    assert stage.done(job).status == "scheduled"
    assert stage.done(structs.replace(job, lost=1)).status == "failed"


def _fails() -> None:
    raise ValueError("again")

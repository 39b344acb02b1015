"""The tasks with MessagePack results, their readers, and the error of a reader without the plugin."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from yadtq_core import InvalidSetting, SerializationError, TaskFailed, task
from yadtq_core.plugin import load_plugins
from yadtq_core.plugin.registry import Registry
from yadtq_core.settings import Settings
from yadtq_core.testing import Engine
from yadtq_msgpack.plugin import MsgpackPlugin

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


@task(name="shop.thumbnail")
def thumbnail() -> dict[str, Any]:
    """Return a value that JSON converts to text."""
    return {"png": b"\x89PNG", "at": NOON, "big": 2**70}


@task(name="billing.total")
def total() -> dict[str, Any]:
    """Return bytes too."""
    return {"png": b"\x89PNG"}


@task(name="shop.broken")
def broken() -> Any:
    """Return a value without a form in MessagePack."""
    return {"rows": [1, {2}]}


def engine(*tasks: str) -> Engine:
    """Return an engine whose worker writes the results of these tasks as MessagePack."""
    return Engine(MsgpackPlugin(), sections={"msgpack": {"tasks": list(tasks)}})


def test_the_tasks_of_the_setting_have_their_results_as_messagepack() -> None:
    with engine("shop.*") as here:
        thumb, sum_ = here.client.submit(thumbnail), here.client.submit(total)
        here.run_until_idle()
        assert thumb.result(timeout=0) == {"png": b"\x89PNG", "at": NOON, "big": 2**70}
        assert thumb.record().content_type == "application/msgpack"
        assert sum_.record().content_type == "application/json"
        assert sum_.result(timeout=0) == {"png": "iVBORw=="}


def test_installing_it_alone_changes_nothing() -> None:
    with engine() as here:
        handle = here.client.submit(thumbnail)
        here.run_until_idle()
        assert handle.record().content_type == "application/json"


def test_the_environment_names_tasks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YADTQ_MSGPACK_TASKS", "billing.*, shop.thumb*")
    with Engine(MsgpackPlugin()) as here:
        handle = here.client.submit(thumbnail)
        here.run_until_idle()
        assert handle.record().content_type == "application/msgpack"


def test_a_pattern_means_the_name_that_workers_know_a_task_by() -> None:
    """The name `add` is the entry point's, not the function's."""
    with engine("add") as here:
        handle = here.client.submit("add", 1, 2)
        here.run_until_idle()
        assert handle.record().content_type == "application/msgpack"
        assert handle.result(timeout=0) == 3
    assert Registry().get("add").name != "add"


def test_what_cannot_be_carried_fails_the_task_with_its_place() -> None:
    with engine("*") as here:
        handle = here.client.submit(broken)
        here.run_until_idle()
        with pytest.raises(TaskFailed) as caught:
            handle.result(timeout=0)
    assert "result not msgpack: $['rows'][1] is of type set" in caught.value.message


def test_a_client_without_the_plugin_is_asked_to_install_it() -> None:
    with engine("*") as here:
        record_of = here.client.submit(thumbnail)
        here.run_until_idle()
        record = record_of.record()
    plain = load_plugins().payloads(Settings())
    assert record.result is not None
    with pytest.raises(SerializationError, match=f"the result of task {record.id} is application/msgpack, which is"):
        plain.result(record.result, record.content_type, record.id)


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"unknown setting msgpack\.task; did you mean 'tasks'"):
        Engine(MsgpackPlugin(), sections={"msgpack": {"task": ["*"]}})


def test_msgpack_is_found_by_its_entry_point(unblocked: Callable[..., None]) -> None:
    unblocked("msgpack")
    plugins = load_plugins()
    assert plugins.errors == ()
    assert "msgpack" in [row.name for row in plugins.rows if not row.blocked]
    settings = plugins.configure(Settings())
    assert plugins.payloads(settings).serializer("msgpack").content_type == "application/msgpack"

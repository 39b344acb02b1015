"""Plugins: which broker and backend an address chooses; what is said of one that cannot be loaded."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.distributions import Distributions
from yadtq_core import installed as entry_point_rules
from yadtq_core.errors import InvalidSetting, PluginError
from yadtq_core.plugin import load_plugins, open_backend, open_broker
from yadtq_core.settings import Settings

SQUID = """
from yadtq_core.plugin import hookimpl

@hookimpl
def yadtq_brokers():
    return {"squid": lambda settings: ("squid broker", settings.broker)}

@hookimpl
def yadtq_backends():
    return {"squid": lambda settings: ("squid backend", settings.backend)}
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    with Distributions(tmp_path / "site", monkeypatch) as made:
        yield made


def test_an_installed_plugin_adds_a_scheme(installed: Distributions) -> None:
    installed.add("acme-squid", "1.0", SQUID, hooks={"squid": "acme_squid"})
    settings = Settings(broker="squid://reef", backend="squid://reef")
    broker: Any = open_broker(settings)
    backend: Any = open_backend(settings)
    assert broker == ("squid broker", "squid://reef")
    assert backend == ("squid backend", "squid://reef")


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("http://x:9092", "broker = 'http://x:9092': no installed broker supports http://; known: kafka://"),
        ("localhost", "broker = 'localhost' is not an address; an address begins with one of kafka://"),
        (":9092", "broker = ':9092' is not an address"),
        ("kafka://", "broker = 'kafka://' is not an address"),
        ("amqp://me:secret@x", r"broker = 'amqp://me:\*\*\*@x': no installed broker supports amqp://"),
    ],
)
def test_an_address_of_no_known_scheme(address: str, text: str) -> None:
    with pytest.raises(InvalidSetting, match=text):
        open_broker(Settings(broker=address))


def test_the_schemes_of_the_backend_are_named() -> None:
    with pytest.raises(
        InvalidSetting, match="no installed backend supports mysql://; known: memory://, redis://, "
    ) as refused:
        open_backend(Settings(backend="mysql://x"))
    assert "rediss+sentinel://, unix://" in str(refused.value)


def test_two_plugins_with_one_scheme_are_both_named(installed: Distributions) -> None:
    installed.add("acme-squid", "1.0", SQUID, hooks={"squid": "acme_squid"})
    installed.add("other-squid", "2.0", SQUID, hooks={"octopus": "other_squid"})
    with pytest.raises(PluginError) as error:
        open_broker(Settings(broker="squid://reef"))
    assert "squid (acme-squid 1.0)" in str(error.value)
    assert "octopus (other-squid 2.0)" in str(error.value)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('no')", "ValueError: no ("),
        ("raise BaseException('no')", "BaseException: no ("),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere' ("),
        (SQUID + "YADTQ_API = 2", "it needs yadtq API 2, this is 1; install a release of it for this yadtq"),
        (SQUID.replace("def", "async def"), "yadtq_backends is an async function; hooks are plain functions"),
        (
            SQUID.replace("@hookimpl", ""),
            "yadtq_backends is not marked: put @hookimpl (from yadtq_core.plugin) above it",
        ),
        (SQUID.replace("brokers()", "brokers(*more)"), "yadtq_brokers takes no * or ** parameters; it has ()"),
        ("raise SystemExit(2)", "it called sys.exit(2) ("),
        (SQUID.replace("yadtq_brokers", "yadtq_brokerz"), "yadtq_brokerz"),
        (
            SQUID.replace("yadtq_brokers()", "yadtq_brokers(nothing)"),
            "yadtq_brokers has no parameter 'nothing'; it has ()",
        ),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_left_out_and_named(installed: Distributions, code: str, text: str) -> None:
    installed.add("acme-bad", "0.1", code, hooks={"bad": "acme_bad"})
    installed.add("acme-squid", "1.0", SQUID, hooks={"squid": "acme_squid"})
    plugins = load_plugins()
    (error,) = plugins.errors
    assert str(error).startswith("plugin 'bad' of acme-bad 0.1 (acme_bad) cannot be loaded: ")
    assert text in str(error)
    assert str(error).endswith("(YADTQ_BLOCK_PLUGINS=bad leaves it out)")
    assert "\n" not in str(error)
    assert [name for name, _ in plugins.manager.list_name_plugin()] == [
        "yadtq's own defaults",
        "squid (acme-squid 1.0)",
    ]


def test_a_class_that_cannot_be_made_is_left_out(installed: Distributions) -> None:
    installed.add(
        "acme-bad", "0.1", "class P:\n    def __init__(self): raise SystemExit('no')", hooks={"bad": "acme_bad:P"}
    )
    (error,) = load_plugins().errors
    assert "(acme_bad:P) cannot be loaded: it called sys.exit('no') (" in str(error)


def test_hooks_whose_import_hangs_are_left_out(installed: Distributions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_point_rules, "IMPORT_SECONDS", 0.2)
    installed.add("acme-bad", "0.1", "import threading\nthreading.Event().wait()", hooks={"bad": "acme_bad"})
    installed.add("acme-squid", "1.0", SQUID, hooks={"squid": "acme_squid"})
    plugins = load_plugins()
    (error,) = plugins.errors
    assert "its import has not ended after 0.2 s (" in str(error)
    assert "acme_bad.py, line 2)" in str(error)
    assert [row.name for row in plugins.rows if row.error is None and not row.blocked][1:] == ["squid"]


def test_blocked_plugins_are_not_loaded(installed: Distributions, monkeypatch: pytest.MonkeyPatch) -> None:
    installed.add("acme-bad", "0.1", "1 / 0", hooks={"bad": "acme_bad"})
    installed.add("acme-squid", "1.0", SQUID, hooks={"squid": "acme_squid"})
    monkeypatch.setenv("YADTQ_BLOCK_PLUGINS", f"bad,acme_squid,{os.environ['YADTQ_BLOCK_PLUGINS']}")
    entry_point_rules.entry_points.cache_clear()
    plugins = load_plugins()
    assert plugins.errors == ()
    assert [row.name for row in plugins.rows if not row.blocked] == ["yadtq's own defaults"]
    assert "acme_squid" not in sys.modules


def test_the_order_of_hook_calls_is_shown(installed: Distributions) -> None:
    code = """
from yadtq_core import hookimpl
calls = []
@hookimpl
def yadtq_tasks_finished(worker, outcomes): calls.append(__name__)
@hookimpl
def yadtq_result_serializer(task): calls.append(__name__)
@hookimpl
def yadtq_codecs():
    calls.append(__name__)
    return []
"""
    installed.add("acme-one", "1.0", code, hooks={"one": "acme_one"})
    installed.add(
        "acme-two", "1.0", code.replace("calls = []", "from acme_one import calls"), hooks={"two": "acme_two"}
    )
    plugins = load_plugins()
    told = {
        hook: [name.partition(" ")[0] for name in plugins.manager.order(hook) if name.startswith(("one", "two"))]
        for hook in ("yadtq_tasks_finished", "yadtq_result_serializer", "yadtq_codecs")
    }
    calls = importlib.import_module("acme_one").calls
    plugins.manager.notify("yadtq_tasks_finished", worker=None, outcomes=[])
    plugins.hook.yadtq_result_serializer(task=None)
    plugins.manager.call_each("yadtq_codecs")
    assert [name.removeprefix("acme_") for name in calls] == [name for names in told.values() for name in names]
    assert told["yadtq_codecs"] == ["one", "two"]


def test_two_plugins_of_one_name(installed: Distributions) -> None:
    installed.add("acme-squid", "1.0", SQUID, hooks={"squid": "acme_squid"})
    installed.add("other-squid", "2.0", SQUID, hooks={"squid": "other_squid"})
    (error,) = load_plugins().errors
    assert "of other-squid 2.0" in str(error)
    assert "acme-squid 1.0 has a plugin of this name too" in str(error)


@pytest.mark.slow
def test_listing_the_schemes_loads_no_service_library() -> None:
    code = (
        "import sys; from yadtq_core.plugin import load_plugins; "
        "load_plugins().manager.hook.yadtq_brokers(); "
        "assert not {'kafka', 'redis', 'typer'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

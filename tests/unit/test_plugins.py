"""Plugins: which broker and backend an address chooses; what is said of one that cannot be loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.distributions import Distributions
from yadtq_core.errors import InvalidSetting, PluginError
from yadtq_core.plugins import load_plugins, open_backend, open_broker
from yadtq_core.settings import Settings

SQUID = """
from yadtq_core.hookspecs import hookimpl

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
        ("http://x:9092", "broker = 'http://x:9092': no broker for http:// here; known: kafka://"),
        ("localhost", "broker = 'localhost' is no address; an address begins with one of kafka://"),
        (":9092", "broker = ':9092' is no address"),
        ("kafka://", "broker = 'kafka://' is no address"),
        ("amqp://me:secret@x", r"broker = 'amqp://me:\*\*\*@x': no broker for amqp:// here"),
    ],
)
def test_an_address_of_no_known_scheme(address: str, text: str) -> None:
    with pytest.raises(InvalidSetting, match=text):
        open_broker(Settings(broker=address))


def test_the_schemes_of_the_backend_are_named() -> None:
    with pytest.raises(InvalidSetting, match="no backend for mysql:// here; known: memory://, redis://, ") as refused:
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
        ("raise SystemExit(2)", "it called sys.exit(2) when it was imported"),
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
    assert "\n" not in str(error)
    assert [name for name, _ in plugins.manager.list_name_plugin()] == [
        "yadtq's own defaults",
        "squid (acme-squid 1.0)",
    ]


def test_two_plugins_of_one_name(installed: Distributions) -> None:
    installed.add("acme-squid", "1.0", SQUID, hooks={"squid": "acme_squid"})
    installed.add("other-squid", "2.0", SQUID, hooks={"squid": "other_squid"})
    (error,) = load_plugins().errors
    assert "of other-squid 2.0" in str(error)
    assert "acme-squid 1.0 has a plugin of this name too" in str(error)


def test_listing_the_schemes_loads_no_service_library() -> None:
    code = (
        "import sys; from yadtq_core.plugins import load_plugins; "
        "load_plugins().manager.hook.yadtq_brokers(); "
        "assert not {'kafka', 'redis', 'typer'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

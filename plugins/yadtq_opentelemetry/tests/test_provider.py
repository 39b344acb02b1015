"""A process without a provider, a child's provider, and the last flush; each in a separate process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from yadtq_opentelemetry.config import OpenTelemetrySettings

pytestmark = pytest.mark.slow

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def python(code: str) -> str:
    """Run code in a new interpreter; return what it wrote to stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


RUN = """
import sys
from yadtq_core import task
from yadtq_core.testing import Engine

@task(name="shop.square")
def square(number: int) -> int:
    return number * number

def run(**section):
    with Engine(sections={"opentelemetry": section}) as engine:
        engine.client.submit(square, 3)
        (outcome,) = engine.run_until_idle()
        assert outcome.status == "success"
    return engine
"""


def test_without_a_provider_nothing_is_loaded_and_no_header_added(unblocked: Callable[..., None]) -> None:
    unblocked("opentelemetry")
    python(
        RUN + "engine = run()\n"
        "assert 'yadtq_opentelemetry.plugin' in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "assert engine.submitted[0].headers == {}\n"
    )


def test_an_api_that_is_loaded_and_has_no_provider_is_no_provider(unblocked: Callable[..., None]) -> None:
    unblocked("opentelemetry")
    python(
        RUN + "import opentelemetry.trace\n"
        "engine = run()\n"
        "assert engine.submitted[0].headers == {}\n"
        "assert 'yadtq_opentelemetry.runs' not in sys.modules\n"
    )


SETUP = """
import types
module = types.ModuleType("telemetry")
sys.modules["telemetry"] = module

def setup():
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    module.exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(module.exporter))
    trace.set_tracer_provider(provider)

module.setup = setup
module.nothing = lambda: None
"""


def test_setup_sets_the_provider_of_a_child(unblocked: Callable[..., None]) -> None:
    unblocked("opentelemetry")
    python(
        RUN + SETUP + "engine = run(setup='telemetry:setup')\n"
        "names = [span.name for span in module.exporter.get_finished_spans()]\n"
        "assert 'run shop.square' in names, names\n"
        "assert not engine.hook_failures\n"
    )


@pytest.mark.parametrize(
    ("setup", "text"),
    [
        ("telemetry:other", "opentelemetry.setup = 'telemetry:other': module 'telemetry' has no attribute 'other'"),
        ("nowhere:setup", "opentelemetry.setup = 'nowhere:setup': No module named 'nowhere'"),
        ("telemetry:nothing", "telemetry:nothing has set no tracer provider: this child makes no spans"),
    ],
)
def test_a_setup_that_does_not_do_is_logged_and_tasks_run(
    unblocked: Callable[..., None], setup: str, text: str
) -> None:
    unblocked("opentelemetry")
    logged = python("import logging; logging.basicConfig()\n" + RUN + SETUP + f"run(setup={setup!r})\n")
    assert text in logged


def test_a_setup_that_is_no_place_is_refused(unblocked: Callable[..., None]) -> None:
    unblocked("opentelemetry")
    python(
        RUN + "from yadtq_core import InvalidSetting\n"
        "try:\n    run(setup='telemetry.setup')\n"
        "except InvalidSetting as error:\n    assert 'setup' in str(error)\n"
        "else:\n    raise SystemExit('not refused')\n"
    )


def test_an_exporter_that_hangs_is_waited_for_no_longer_than_a_child_may_take(unblocked: Callable[..., None]) -> None:
    unblocked("opentelemetry")
    logged = python(
        """
import logging, os, threading, time
logging.basicConfig()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

class Hanging(SpanExporter):
    def export(self, spans):
        threading.Event().wait()

provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(Hanging()))
trace.set_tracer_provider(provider)
trace.get_tracer("t").start_span("lost").end()

from yadtq_opentelemetry.provider import FLUSH_SECONDS, flush
assert FLUSH_SECONDS < 2
begun = time.monotonic()
assert flush() is False
assert time.monotonic() - begun < 60, "it ended by itself"
os._exit(0)  # the SDK's thread hangs in the exporter
"""
    )
    assert "the last spans were not exported within 1.5 s" in logged


def test_the_readme_lists_the_settings_of_opentelemetry() -> None:
    source = Path(str(files("yadtq_opentelemetry") / "config.py")).read_text("utf-8")
    told = re.findall(r'^    (\w+): .*\n    """(.*)"""$', source, re.MULTILINE)
    assert [name for name, _ in told] == list(OpenTelemetrySettings.__struct_fields__)
    for name, text in told:
        assert re.search(rf"^\| `{name}` \|.*\| {re.escape(text)} \|$", README, re.MULTILINE), name

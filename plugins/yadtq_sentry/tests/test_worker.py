"""A real worker whose children send their failures to an endpoint of the test."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from plugins.yadtq_sentry.tests.ingest import ingest
from tests.e2e.site import site
from yadtq_core import TaskFailed, call
from yadtq_sentry.config import SentrySettings

pytestmark = pytest.mark.slow

TASKS = Path(__file__).with_name("sentry_tasks.py")
README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
CARD = "4711-0815-2342"


def test_every_failure_has_left_the_children_when_they_end(tmp_path: Path, redis_url: str, namespace: str) -> None:
    shutil.copy(TASKS, tmp_path)
    streams = redis_url.replace("://", "+streams://", 1)
    with ingest() as told, site(tmp_path, streams, redis_url, namespace, 15.0) as here:
        here.client.provision()
        environment = {
            "YADTQ_BLOCK_PLUGINS": "crypt,msgpack,opentelemetry,prometheus",
            "SENTRY_DSN": told.dsn,
            "YADTQ_SENTRY_ENVIRONMENT": "testing",
            "YADTQ_SENTRY_RELEASE": "shop@7",
        }
        worker = here.worker("till", "sentry_tasks", "-c", "2", environment=environment)
        here.wait_online(worker)
        handles = [
            *here.client.submit_many(call("shop.charge", CARD) for _ in range(10)),
            *here.client.submit_many(call("shop.acharge", CARD) for _ in range(10)),
        ]
        assert here.client.submit("shop.fine").result(timeout=60) == 1
        here.client.wait_all([here.client.submit("shop.given_up")], timeout=60)
        for handle in handles:
            with pytest.raises(TaskFailed, match="the bank is away"):
                handle.result(timeout=60)
        assert worker.terminate(60) == 0, worker.log()
        events = list(told.events)
        log = worker.log()
    assert {event["contexts"]["yadtq"]["id"] for event in events} == {handle.id for handle in handles}
    assert len(events) == len(handles)
    assert set(told.paths) == {"/api/42/envelope/"}
    for event in events:
        assert (event["environment"], event["release"]) == ("testing", "shop@7")
        assert event["tags"]["yadtq.worker"] == "till"
        assert event["exception"]["values"][-1]["type"] == "ConnectionError"
    assert {event["transaction"] for event in events} == {"shop.charge", "shop.acharge"}
    assert CARD not in json.dumps(events)
    assert CARD[::-1] not in json.dumps(events)
    assert "Traceback" not in log
    assert "Sentry is attempting" not in log


RUN = """
import logging, sys
logging.basicConfig()
from yadtq_core import task
from yadtq_core.testing import Engine

@task(name="shop.charge")
def charge() -> None:
    raise ValueError("declined")

def run(**section):
    with Engine(sections={"sentry": section}) as engine:
        engine.client.submit(charge)
        (outcome,) = engine.run_until_idle()
        assert outcome.error.message == "declined"
"""


def python(code: str) -> str:
    """Run code in a new interpreter; return what it wrote to stderr."""
    done = subprocess.run([sys.executable, "-c", RUN + code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_without_a_dsn_nothing_is_loaded(unblocked: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTRY_DSN", raising=False)
    unblocked("sentry")
    python("run()\nassert 'yadtq_sentry.plugin' in sys.modules\nassert 'sentry_sdk' not in sys.modules\n")


def test_what_is_no_dsn_is_logged_and_tasks_run(unblocked: Callable[..., None]) -> None:
    unblocked("sentry")
    logged = python("run(dsn='sentry.example.com')\n")
    assert "sentry.dsn (or SENTRY_DSN) is no DSN" in logged


def test_the_plugins_own_client_collects_no_variables_and_imports_no_frameworks(unblocked: Callable[..., None]) -> None:
    unblocked("sentry")
    python(
        "run(dsn='http://key@127.0.0.1:1/1', environment='testing', sample_rate=0.5)\n"
        "import sentry_sdk\n"
        "options = sentry_sdk.get_client().options\n"
        "assert options['include_local_variables'] is False\n"
        "assert (options['environment'], options['sample_rate']) == ('testing', 0.5)\n"
        "assert 'redis' not in sys.modules\n"
    )


def test_an_ingest_that_hangs_is_waited_for_no_longer_than_a_child_may_take(unblocked: Callable[..., None]) -> None:
    unblocked("sentry")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts connections, and never answers
        port = silent.getsockname()[1]
        python(
            "from yadtq_sentry.client import FLUSH_SECONDS\n"
            "assert FLUSH_SECONDS < 2\n"
            "import time\n"
            "begun = time.monotonic()\n"
            f"run(dsn='http://key@127.0.0.1:{port}/1')\n"
            "assert 1.4 < time.monotonic() - begun < 60\n"
            "import os; os._exit(0)\n"
        )


def test_the_readme_lists_the_settings_of_sentry() -> None:
    source = Path(str(files("yadtq_sentry") / "config.py")).read_text("utf-8")
    told = re.findall(r'^    (\w+): .*\n    """(.*)"""$', source, re.MULTILINE)
    assert [name for name, _ in told] == list(SentrySettings.__struct_fields__)
    for name, text in told:
        assert re.search(rf"^\| `{name}` \|.*\| {re.escape(text)} \|$", README, re.MULTILINE), name

"""Real workers: one trace through three processes, and no span lost when they end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.yadtq_opentelemetry.tests.spans import Spans, recorded
from tests.e2e.site import Site, WorkerProcess, site
from tests.waiting import wait_until
from yadtq_core import call

TASKS = Path(__file__).with_name("traced_tasks.py")


@pytest.fixture
def spans() -> Iterator[Spans]:
    found = recorded()
    found.clear()
    yield found
    found.clear()


@pytest.fixture
def here(tmp_path: Path, redis_url: str, namespace: str, unblocked: Callable[..., None]) -> Iterator[Site]:
    unblocked("opentelemetry")
    shutil.copy(TASKS, tmp_path)
    (tmp_path / "spans").mkdir()
    streams = redis_url.replace("://", "+streams://", 1)
    with site(tmp_path, streams, redis_url, namespace, 15.0) as made:
        made.client.provision()
        yield made


def traced_worker(here: Site, *options: str) -> WorkerProcess:
    """Start a worker whose children write their spans, and wait until it is online."""
    environment = {
        "YADTQ_BLOCK_PLUGINS": "crypt,msgpack,prometheus,sentry",
        "YADTQ_OPENTELEMETRY_SETUP": "traced_tasks:setup",
        "SPANS": str(here.folder / "spans"),
    }
    worker = here.worker("traced", "traced_tasks", *options, environment=environment)
    here.wait_online(worker)
    return worker


def written(here: Site) -> list[dict[str, Any]]:
    """Return the spans that the children have exported."""
    files = sorted((here.folder / "spans").iterdir())
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_one_trace_from_the_submitter_to_what_its_task_submits(here: Site, spans: Spans) -> None:
    worker = traced_worker(here, "-c", "2")
    with spans.tracer.start_as_current_span("request") as request:
        handle = here.client.submit("traced.parent", 7)
    assert here.client.handle(handle.result(timeout=60)).result(timeout=60) == 7
    assert written(here) == [], "nothing is exported before the children end"
    assert worker.terminate(60) == 0, worker.log()
    theirs = written(here)
    mine = spans.one("create traced.parent").context
    assert mine is not None
    by = {span["name"]: span for span in theirs}
    assert sorted(by) == sorted(span["name"] for span in theirs), "each once"
    parents = {name: span["parent"] for name, span in by.items()}
    assert parents == {
        "wait traced.parent": f"{mine.span_id:016x}",
        "run traced.parent": f"{mine.span_id:016x}",
        "work": by["run traced.parent"]["id"],
        "create traced.child": by["work"]["id"],
        "send traced.child": by["create traced.child"]["id"],
        "wait traced.child": by["create traced.child"]["id"],
        "run traced.child": by["create traced.child"]["id"],
        "async work": by["run traced.child"]["id"],
    }
    assert {span["trace"] for span in theirs} == {f"{request.get_span_context().trace_id:032x}"}
    assert by["wait traced.parent"]["end"] == by["run traced.parent"]["start"]
    assert by["run traced.parent"]["status"] == by["run traced.child"]["status"] == "success"


def test_no_span_is_lost_when_a_worker_is_told_to_stop(here: Site, spans: Spans) -> None:
    worker = traced_worker(here, "-c", "2", "--threads", "2")
    handles = here.client.submit_many(call("traced.quick", number) for number in range(300))
    for handle in handles:
        handle.result(timeout=60)
    begun, gate = here.folder / "begun", here.folder / "gate"
    held = here.client.submit("traced.held", str(begun), str(gate))
    wait_until(begun.exists, "the last task has begun", 60)
    worker.process.terminate()
    wait_until(lambda: "stopping" in worker.log(), "it stops", 60)
    gate.touch()
    assert worker.process.wait(90) == 0, worker.log()
    held.result(timeout=30)
    creates = {f"{one.context.span_id:016x}" for one in spans.all() if one.name.startswith("create") and one.context}
    runs = [span for span in written(here) if span["name"].startswith("run")]
    assert len(creates) == len(runs) == 301
    assert {span["parent"] for span in runs} == creates
    assert "Traceback" not in worker.log()

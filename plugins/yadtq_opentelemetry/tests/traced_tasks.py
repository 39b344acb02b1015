"""Tasks that are traced, and the provider of the children that run them: spans as lines of a file.

Nothing leaves before a flush: the processor's own schedule is an hour, and the SDK's handler at exit is off.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from yadtq_core import Client, task


class File(SpanExporter):
    """Appends each batch to a file of this process in the folder SPANS."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write one line per span."""
        lines = [json.dumps(_as_object(span)) + "\n" for span in spans]
        with (Path(os.environ["SPANS"]) / f"{os.getpid()}.jsonl").open("a") as file:
            file.write("".join(lines))
        return SpanExportResult.SUCCESS


def _as_object(span: ReadableSpan) -> dict[str, object]:
    assert span.context is not None
    return {
        "name": span.name,
        "trace": f"{span.context.trace_id:032x}",
        "id": f"{span.context.span_id:016x}",
        "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
        "status": (span.attributes or {}).get("yadtq.status"),
        "start": span.start_time,
        "end": span.end_time,
    }


def setup() -> None:
    """Set the provider of this process."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(File(), schedule_delay_millis=3_600_000, max_queue_size=10_000, max_export_batch_size=10_000)
    )
    trace.set_tracer_provider(provider)


@task(name="traced.parent")
def parent(number: int) -> str:
    """Submit a child task from within a new span."""
    with trace.get_tracer("the task").start_as_current_span("work"), Client.connect() as client:
        return client.submit(child, number).id


@task(name="traced.child")
async def child(number: int) -> int:
    """Return a number on the event loop."""
    with trace.get_tracer("the task").start_as_current_span("async work"):
        await asyncio.sleep(0.01)
    return number


@task(name="traced.quick")
def quick(number: int) -> int:
    """Return a number at once."""
    return number


@task(name="traced.held")
def held(begun: str, gate: str) -> None:
    """Run until the file `gate` is there."""
    Path(begun).touch()
    until = time.monotonic() + 60
    while not Path(gate).exists():
        if time.monotonic() > until:
            raise TimeoutError("the gate was not opened")
        time.sleep(0.02)

"""The spans that a test's own process makes, kept in memory. A process has one tracer provider, so tests share it."""

from __future__ import annotations

from functools import cache

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Broken(SpanProcessor):
    """A processor that raises on request."""

    def __init__(self) -> None:
        self.raises = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Receive a span."""
        if self.raises:
            raise RuntimeError("a processor that is broken")


class Spans:
    """The spans since the last `clear`."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.broken = Broken()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        provider.add_span_processor(self.broken)
        trace.set_tracer_provider(provider)
        self.tracer = trace.get_tracer("the application")

    def clear(self) -> None:
        """Forget all spans."""
        self._exporter.clear()
        self.broken.raises = False

    def all(self) -> list[ReadableSpan]:
        """Return the spans that have ended, in order."""
        return list(self._exporter.get_finished_spans())

    def names(self) -> list[str]:
        """Return their names."""
        return [span.name for span in self.all()]

    def one(self, name: str) -> ReadableSpan:
        """Return the only span of this name."""
        (found,) = (span for span in self.all() if span.name == name)
        return found


@cache
def recorded() -> Spans:
    """Return this process's spans; the first call sets the provider."""
    return Spans()


def is_child_of(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """True when `parent` is the span's parent, in one trace."""
    assert span.context is not None
    assert parent.context is not None
    return (
        span.parent is not None
        and span.parent.span_id == parent.context.span_id
        and span.context.trace_id == parent.context.trace_id
    )

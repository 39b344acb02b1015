"""The process's tracer provider: find it, set it in a child, and flush it at the end.

The code that sets a provider imports opentelemetry. If opentelemetry is not imported, there is no provider, and the
check costs nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
from importlib import import_module
from typing import Any

from yadtq_core import InvalidSetting

FLUSH_SECONDS = 1.5
"""A worker that ends gives its children 2 s to end."""

log = logging.getLogger("yadtq.opentelemetry")


def provider() -> Any:
    """Return the tracer provider, None if none is set."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    found = trace.get_tracer_provider()
    return None if isinstance(found, trace.ProxyTracerProvider) else found


def set_up(setup: str) -> None:
    """Call `module:function`. Raises InvalidSetting if it cannot be imported; its own exceptions pass through."""
    module, _, name = setup.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidSetting(f"opentelemetry.setup = {setup!r}: {error}") from error
    function()
    if provider() is None:
        log.warning("%s has set no tracer provider: this child makes no spans", setup)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Export the spans that the provider holds, within `seconds`; return True when all were exported.

    A separate thread does it, because the SDK's batch processor ignores its timeout while its exporter hangs.
    """
    force_flush = getattr(provider(), "force_flush", None)
    if force_flush is None:
        return True
    done = threading.Event()

    def run() -> None:
        try:
            force_flush(int(seconds * 1000))
            done.set()
        except Exception:
            log.exception("the last spans could not be exported")

    thread = threading.Thread(target=run, name="yadtq-opentelemetry-flush", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        log.warning("the last spans were not exported within %g s", seconds)
    return done.is_set()

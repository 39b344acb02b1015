"""The hooks that plugins implement (pluggy, project name `yadtq`)."""

from __future__ import annotations

from collections.abc import Mapping

import pluggy

from yadtq_core.interfaces import BackendFactory, BrokerFactory

PROJECT = "yadtq"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def yadtq_brokers() -> Mapping[str, BrokerFactory]:  # type: ignore[empty-body]
    """Return {URL scheme: factory}. Asked once, before a broker is opened; two plugins with one scheme: an error."""


@hookspec
def yadtq_backends() -> Mapping[str, BackendFactory]:  # type: ignore[empty-body]
    """Return {URL scheme: factory}. Asked once, before a backend is opened; two plugins with one scheme: an error."""

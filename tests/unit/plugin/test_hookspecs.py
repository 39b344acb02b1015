"""The types of the hooks."""

from __future__ import annotations

from yadtq_core.plugin.hookspecs import HealthClient
from yadtq_core.testing import Engine


def test_a_client_has_every_call_that_yadtq_health_may_make() -> None:
    with Engine() as engine:
        client: HealthClient = engine.client
        assert client.settings.namespace == engine.client.settings.namespace
        assert client.query([]) == []
        assert client.counts().total("queued") == 0
        assert client.workers() == []

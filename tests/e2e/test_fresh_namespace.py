"""A namespace in which nothing ran before: client and worker start at once, without `yadtq provision`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import LEASE
from tests.e2e.site import site


@pytest.mark.parametrize("broker", [pytest.param("kafka", marks=pytest.mark.kafka), "streams"])
def test_client_and_worker_start_at_once(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, namespace: str, broker: str
) -> None:
    streams = redis_url.replace("://", "+streams://", 1)
    url = request.getfixturevalue("kafka_url") if broker == "kafka" else streams
    with site(tmp_path, url, redis_url, namespace, LEASE) as here:
        worker = here.worker("only")
        handle = here.client.submit("site.square", 3)
        shell = here.run("submit", "site.square", "[4]", "--unchecked", "--wait", "--timeout", "60")
        assert shell.returncode == 0, shell.stderr
        assert handle.result(timeout=60) == 9, worker.log()

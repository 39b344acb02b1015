"""The tier of one Redis, when that Redis is killed and started again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import LEASE
from tests.e2e.site import site
from yadtq_core import Status, call
from yadtq_local import LocalValkey


def test_a_redis_that_restarts_loses_no_written_task(
    tmp_path: Path, make_valkey: Callable[..., LocalValkey], namespace: str
) -> None:
    server = make_valkey(config={"appendfsync": "always"})
    streams = server.url.replace("://", "+streams://", 1)
    with site(tmp_path, streams, server.url, namespace, LEASE) as here:
        here.client.provision()
        (worker,) = here.workers("only", options=("-c", "2"))
        handles = here.client.submit_many(call("site.nap", 0.005) for _ in range(600))
        handles[20].result(timeout=30)
        server.kill()
        server.start()
        for handle in handles:
            assert handle.result(timeout=60) == "only"
        assert here.client.submit("site.square", 3).result(timeout=30) == 9
        assert here.client.counts().ended == {"success": 601}
        assert {handle.status() for handle in handles} == {Status.SUCCESS}
        log = worker.log()
        assert log.count("the backend is away") <= 1, log
        assert log.count("reading the streams failed") == 1, log
        assert worker.terminate(30) == 0, log

"""Losing what Redis knew costs repeats, not tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import redis

from tests.e2e.site import site
from tests.waiting import wait_until
from yadtq_core import Status, call
from yadtq_core.local import LocalValkey


def test_after_flushall_every_ready_task_still_ends(
    tmp_path: Path, kafka_url: str, make_valkey: Callable[..., LocalValkey], namespace: str
) -> None:
    valkey = make_valkey()
    with site(tmp_path, kafka_url, valkey.url, namespace, 3.0) as here:
        here.client.provision()
        here.workers("one", "two", options=("-c", "1"))
        handles = here.client.submit_many(call("site.nap", 0.02) for _ in range(300))
        time.sleep(1.5)
        redis.Redis.from_url(valkey.url).flushall()

        def all_ended() -> bool:
            records = here.client.query([handle.id for handle in handles])
            return all(record is not None and record.status == Status.SUCCESS for record in records)

        wait_until(all_ended, "every task has a record of success", 90)
        repeats = sum(len(here.runs(handle.id)) - 1 for handle in handles)
        assert 0 <= repeats <= 300

"""Losing what Redis knew costs repeats, not tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.e2e.site import site
from tests.waiting import wait_until
from yadtq_core import Status, TaskNotFound, call
from yadtq_core.model import new_id
from yadtq_local import LocalValkey


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


def test_query_says_that_the_store_was_reset(
    tmp_path: Path, kafka_url: str, make_valkey: Callable[..., LocalValkey], namespace: str
) -> None:
    valkey = make_valkey()
    with site(tmp_path, kafka_url, valkey.url, namespace, 3.0) as here:
        here.client.provision()
        here.workers("one", options=("-c", "1"))
        handle = here.client.submit("site.square", 4)
        assert handle.result(timeout=60) == 16
        lost = new_id()  # never submitted; but who could tell, once the store is empty?
        assert ", when the result store was empty)" in here.run("query", lost).stderr
        flushed_at = time.time()
        redis.Redis.from_url(valkey.url).flushall()

        def told() -> bool:
            done = here.run("query", lost)
            assert (done.returncode, done.stdout) == (4, "")
            return "or it was lost when the result store was reset at 2" in done.stderr

        wait_until(told, "a worker has noticed", 60)
        with pytest.raises(TaskNotFound) as caught:
            here.client.handle(lost).status()
        assert caught.value.reset_at is not None
        assert flushed_at - 1 < caught.value.reset_at < time.time() + 1

"""Work that is due beside a backlog, queues of one worker, and a full worker beside a free one.

Each limit is far above what is measured and far below what a first-come order would take.
"""

from __future__ import annotations

import time

from tests.e2e.site import Site
from tests.waiting import wait_until
from yadtq_core import Status, call

ONE_SLOT = ("-c", "1", "--threads", "1")
BACKLOG_SECONDS = 60.0
SOON_SECONDS = 8.0


def test_delays_that_are_due_do_not_wait_for_the_backlog(anywhere: Site) -> None:
    anywhere.workers("only", options=ONE_SLOT)
    anywhere.client.submit_many(call("sleep", 0.1) for _ in range(int(BACKLOG_SECONDS / 0.1)))
    delayed = anywhere.client.submit_many(call("site.square", n).using(delay=1.0) for n in range(3))
    for handle in delayed:
        handle.result(timeout=BACKLOG_SECONDS / 2)
        record = handle.record()
        assert record.started_at is not None
        assert record.started_at - record.submitted_at - 1.0 < SOON_SECONDS


def test_a_task_of_another_queue_does_not_wait_for_a_backlog(anywhere: Site) -> None:
    anywhere.client.provision(["bulk", "fast"])
    anywhere.workers("only", options=(*ONE_SLOT, "-Q", "bulk", "-Q", "fast"))
    bulk = call("sleep", 0.1).using(queue="bulk")
    anywhere.client.submit_many(bulk for _ in range(int(BACKLOG_SECONDS / 0.1)))
    for n in range(5):
        (handle,) = anywhere.client.submit_many([call("site.square", n).using(queue="fast")])
        handle.result(timeout=BACKLOG_SECONDS / 2)
        record = handle.record()
        assert record.started_at is not None
        assert record.started_at - record.submitted_at < SOON_SECONDS


def test_requeued_tasks_of_a_queue_without_workers_hide_nothing(anywhere: Site) -> None:
    anywhere.client.provision(["unserved"])
    delayed = call("site.square", 2).using(queue="unserved", delay=0.5)
    hidden = anywhere.client.submit_many(delayed for _ in range(1000))
    time.sleep(0.5)
    anywhere.workers("only", options=ONE_SLOT)
    handle = anywhere.client.submit_many([call("site.square", 3).using(delay=1.0)])[0]
    assert handle.result(timeout=SOON_SECONDS + 10.0) == 9
    assert hidden[0].status() is Status.QUEUED


def test_a_free_worker_does_the_work_of_one_that_is_stuck(anywhere: Site) -> None:
    """The full worker leaves the group after 3 s: by requests alone, the other one got 75 tasks a second."""
    anywhere.workers("stuck", options=ONE_SLOT)
    stuck = anywhere.client.submit("site.nap", 45.0)
    wait_until(lambda: anywhere.runs(stuck.id), "it has begun")
    anywhere.workers("free", options=ONE_SLOT)
    handles = anywhere.client.submit_many(call("site.nap", 0.002) for _ in range(3000))
    assert {handle.result(timeout=40) for handle in handles} == {"free"}
    assert stuck.status() is Status.PROCESSING
    assert all(len(anywhere.runs(handle.id)) == 1 for handle in handles)

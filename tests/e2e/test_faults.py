"""Tasks when workers and children are killed, stopped, terminated, or kept busy."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.site import Site
from tests.waiting import wait_until
from yadtq_core import Status, TaskFailed, call


def test_a_killed_worker_loses_nothing_and_another_takes_over(anywhere: Site) -> None:
    first = anywhere.worker("first", "-c", "1")
    anywhere.wait_online(first)
    handle = anywhere.client.submit("site.nap", 2.0)
    wait_until(lambda: anywhere.runs(handle.id), "the task has begun")
    anywhere.worker("second", "-c", "1")
    first.kill()
    assert handle.result(timeout=60) == "second"
    record = handle.record()
    assert record.attempt == 2
    begun = [run["at"] for run in anywhere.runs(handle.id)]
    assert begun[1] - begun[0] < anywhere.lease + 20.0  # a sweep that looks at what waits would come after 60


@pytest.mark.parametrize("lease", [60.0])
def test_restart_recovery_runs_the_held_tasks_at_once(anywhere: Site) -> None:
    first = anywhere.worker("only", "-c", "2")
    anywhere.wait_online(first)
    handles = [anywhere.client.submit("site.nap", 2.0) for _ in range(2)]
    wait_until(lambda: all(anywhere.runs(handle.id) for handle in handles), "both have begun")
    first.kill()
    began = time.time()
    again = anywhere.worker("only", "-c", "2")
    for handle in handles:
        assert handle.result(timeout=60) == "only"
        assert anywhere.runs(handle.id)[1]["at"] - began < anywhere.lease / 2, again.log()
        assert (handle.record().attempt, handle.record().lost) == (2, 1)
    assert f"worker only (process {first.pid}) is gone: 2 of its tasks were requeued" in again.log()
    online = [row.identity.pid for row in anywhere.client.workers() if row.online]
    assert online == [again.pid], "the one that is gone is no longer shown as online"


@pytest.mark.parametrize("lease", [60.0])
def test_a_second_worker_of_the_same_name_takes_no_runs_of_the_first(anywhere: Site) -> None:
    first = anywhere.worker("twin", "-c", "1")
    anywhere.wait_online(first)
    handle = anywhere.client.submit("site.nap", 3.0)
    wait_until(lambda: anywhere.runs(handle.id), "it has begun")
    second = anywhere.worker("twin", "-c", "1")
    anywhere.wait_online(second)
    assert handle.result(timeout=60) == "twin"
    assert len(anywhere.runs(handle.id)) == 1, second.log()
    assert (handle.record().attempt, handle.record().lost) == (1, 0)
    assert "is gone" not in second.log()


def test_no_child_survives_its_worker(here: Site) -> None:
    (worker,) = here.workers("only", options=("-c", "2"))
    children = worker.children()
    assert len(children) == 2
    worker.kill()
    wait_until(lambda: not any(_alive(pid) for pid in children), "the children are gone")


@pytest.mark.parametrize("lease", [60.0])
def test_a_killed_child_is_noticed_at_once_and_its_task_runs_again(anywhere: Site, tmp_path: Path) -> None:
    anywhere.workers("only", options=("-c", "2"))
    gate = tmp_path / "gate"
    handle = anywhere.client.submit("site.held", str(gate))
    wait_until(lambda: anywhere.runs(handle.id), "the task has begun")
    killed_at = time.time()
    os.kill(anywhere.runs(handle.id)[0]["pid"], signal.SIGKILL)
    wait_until(lambda: len(anywhere.runs(handle.id)) == 2, "the task runs again")
    assert anywhere.runs(handle.id)[1]["at"] - killed_at < anywhere.lease / 3
    gate.touch()
    assert handle.result(timeout=30) == "only"


def test_a_task_that_kills_every_child_fails_with_the_cause(here: Site) -> None:
    here.workers("only", options=("-c", "2"))
    handle = here.client.submit("site.vanish")
    with pytest.raises(TaskFailed, match="exited with status 0"):
        handle.result(timeout=60)
    assert len(here.runs(handle.id)) == 4  # the first run, and lost_limit = 3 more
    assert here.client.submit("site.square", 5).result(timeout=30) == 25


def test_a_worker_stopped_for_two_leases_cannot_overwrite(anywhere: Site) -> None:
    (zombie,) = anywhere.workers("zombie", options=("-c", "1"))
    handle = anywhere.client.submit("site.nap", 1.5)
    wait_until(lambda: anywhere.runs(handle.id), "the task has begun")
    zombie.signal(signal.SIGSTOP)  # the child runs on; its outcome waits in the pipe
    anywhere.workers("heir", options=("-c", "1"))
    assert handle.result(timeout=60) == "heir"
    time.sleep(anywhere.lease)
    zombie.signal(signal.SIGCONT)
    wait_until(lambda: "refused" in zombie.log(), "the late outcome was refused")
    record = handle.record()
    assert (record.worker_id, record.attempt, record.status) == ("heir", 2, Status.SUCCESS)
    anywhere.wait_online(zombie)
    assert anywhere.client.submit("site.square", 3).result(timeout=30) == 9


def test_a_task_that_holds_the_interpreter_delays_no_lease(here: Site) -> None:
    (worker,) = here.workers("only", options=("-c", "2"))
    hog = here.client.submit("site.hog", 2 * here.lease)
    wait_until(lambda: here.runs(hog.id), "the hog has begun")
    neighbours = here.client.submit_many(call("site.nap", 0.3) for _ in range(12))
    states = set()
    while hog.status() == Status.PROCESSING:
        states |= {row.online for row in here.client.workers()}
        time.sleep(0.2)
    assert hog.result(timeout=60) > 0
    for handle in neighbours:
        handle.result(timeout=60)
    assert states == {True}
    assert all(len(here.runs(handle.id)) == 1 for handle in (hog, *neighbours)), worker.log()


def test_sigterm_requeues_waiting_jobs_and_drains_running_ones(anywhere: Site, tmp_path: Path) -> None:
    (leaving,) = anywhere.workers("leaving", options=("-c", "1"))
    gate = tmp_path / "gate"
    running = anywhere.client.submit("site.held", str(gate))
    wait_until(lambda: anywhere.runs(running.id), "the first has begun")
    waiting = anywhere.client.submit_many(call("site.nap", 0.01) for _ in range(20))
    anywhere.workers("staying", options=("-c", "1"))
    leaving.process.terminate()
    for handle in waiting:
        assert handle.result(timeout=20) == "staying"  # while the first still runs, within the grace of 25 s
    gate.touch()
    assert leaving.process.wait(20) == 0, leaving.log()
    assert running.result(timeout=30) == "leaving"
    assert all(len(anywhere.runs(handle.id)) == 1 for handle in waiting)


@pytest.mark.parametrize("lease", [60.0])
def test_a_second_sigterm_requeues_at_once(anywhere: Site, tmp_path: Path) -> None:
    (leaving,) = anywhere.workers("leaving", options=("-c", "1"))
    gate = tmp_path / "gate"
    running = anywhere.client.submit("site.held", str(gate))
    wait_until(lambda: anywhere.runs(running.id), "it has begun")
    anywhere.workers("staying", options=("-c", "1"))
    leaving.process.terminate()
    time.sleep(0.3)
    told_at = time.time()
    assert leaving.terminate(15) == 0, leaving.log()  # the second signal: now, and not after the grace of 25 s
    wait_until(lambda: len(anywhere.runs(running.id)) == 2, "it runs elsewhere")
    assert anywhere.runs(running.id)[1]["at"] - told_at < anywhere.lease / 3
    gate.touch()
    assert running.result(timeout=30) == "staying"
    assert running.record().lost == 0


def test_a_retry_waits_without_a_slot(anywhere: Site) -> None:
    anywhere.workers("only", options=("-c", "1"))
    flaky = anywhere.client.submit("site.flaky", 2, 4.0, 0.2)
    wait_until(lambda: flaky.status() == Status.SCHEDULED, "it waits for its second run")
    square = anywhere.client.submit("site.square", 4)
    assert square.result(timeout=30) == 16
    assert flaky.result(timeout=60) == 3
    assert anywhere.runs(square.id)[0]["at"] < anywhere.runs(flaky.id)[1]["at"]
    assert [run["attempt"] for run in anywhere.runs(flaky.id)] == [1, 2, 3]


def test_cancel_reaches_a_running_task_in_a_worker_process(here: Site) -> None:
    here.workers("only", options=("-c", "1"))
    handle = here.client.submit("site.patient", 100)
    wait_until(lambda: here.runs(handle.id), "it has begun")
    handle.cancel()
    wait_until(lambda: handle.status() == Status.CANCELLED, "it stopped")


def test_one_long_task_in_a_partition_delays_no_other_while_a_slot_is_free(anywhere: Site, tmp_path: Path) -> None:
    busy, free = anywhere.workers("busy", "free", options=("-c", "1", "-l", "debug"))
    gate = tmp_path / "gate"
    long = anywhere.client.submit_many([call("site.held", str(gate))])[0]
    wait_until(lambda: anywhere.runs(long.id), "the long one has begun")
    began = time.monotonic()
    handles = anywhere.client.submit_many(call("site.nap", 0.01) for _ in range(80))
    for handle in handles:
        handle.result(timeout=30)
    assert time.monotonic() - began < 30, busy.log() + free.log()  # a sweep of what waits would bring them after 60
    assert long.status() == Status.PROCESSING
    gate.touch()
    assert long.result(timeout=30) in ("busy", "free")
    assert all(len(anywhere.runs(handle.id)) == 1 for handle in handles)


def test_an_async_task_shares_the_loop(here: Site) -> None:
    here.workers("only", options=("-c", "1", "--threads", "10"))
    handles = here.client.submit_many(call("site.ameet", 10) for _ in range(10))  # none ends before all have begun
    assert len({tuple(handle.result(timeout=60)) for handle in handles}) == 1


@pytest.mark.timeout(600)
def test_three_thousand_tasks_and_three_kills(anywhere: Site) -> None:
    workers = dict(zip(("one", "two"), anywhere.workers("one", "two", options=("-c", "1")), strict=True))
    draw = random.Random(20261124)
    handles = anywhere.client.submit_many(call("site.square", number) for number in range(3_000))
    for _ in range(3):
        time.sleep(draw.uniform(0.3, 1.2))
        name = draw.choice(["one", "two"])
        workers[name].kill()
        workers[name] = anywhere.worker(name, "-c", "1")
    for number, handle in enumerate(handles):
        assert handle.result(timeout=240) == number * number
    records = anywhere.client.query([handle.id for handle in handles])
    assert {record.status for record in records if record} == {Status.SUCCESS}
    for record in records:
        assert record is not None
        runs = anywhere.runs(record.id)
        assert record.attempt >= len(runs)
        assert record.fence == max(run["fence"] for run in runs)
    counts = anywhere.client.counts()
    assert counts.ended == {"success": 3_000} | {key: 0 for key in counts.ended if key != "success"}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

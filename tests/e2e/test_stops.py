"""Stops: what a service manager, `docker stop` and ctrl-C do to a worker whose tasks run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.distributions import write_distribution
from tests.e2e.site import Site, WorkerProcess, site
from tests.proxy import Proxy
from tests.waiting import wait_until
from yadtq_core import Status

LEASE = 30.0
"""Seconds. No test waits for its end: the tests are about runs that their own worker requeues."""


@pytest.fixture
def here(tmp_path: Path, redis_url: str, namespace: str) -> Iterator[Site]:
    """A site on the streams of the store."""
    with site(tmp_path, redis_url.replace("://", "+streams://", 1), redis_url, namespace, LEASE) as made:
        made.client.provision()
        yield made


def started(here: Site, name: str, *options: str, grace: float = 25.0, **environment: str) -> WorkerProcess:
    """Start a worker with this `shutdown_grace` in seconds; return when it is online."""
    worker = here.worker(name, "-c", "1", *options, environment={"YADTQ_SHUTDOWN_GRACE": f"{grace:g}s", **environment})
    here.wait_online(worker)
    return worker


def to_first(worker: WorkerProcess, number: int) -> None:
    """`docker stop`, and KillMode=mixed of systemd: the signal reaches the worker's own process."""
    worker.signal(number)


def to_all(worker: WorkerProcess, number: int) -> None:
    """KillMode=control-group of systemd, its default: the worker first, then the groups of its children."""
    groups = [worker.pid, *worker.children()]
    for group in groups:
        os.killpg(group, number)


def to_all_the_worker_last(worker: WorkerProcess, number: int) -> None:
    """The same in the other order, which no service manager promises."""
    for group in [*worker.children(), worker.pid]:
        os.killpg(group, number)


Stop = Callable[[WorkerProcess, int], None]


@pytest.mark.parametrize("stop", [to_first, to_all])
def test_four_restarts_fail_no_healthy_task(here: Site, stop: Stop) -> None:
    handle = here.client.submit("site.nap", 2.0)
    for restart in range(4):
        worker = started(here, "one", grace=0.2)
        wait_until(lambda: len(here.runs(handle.id)) > restart, "the task runs")  # noqa: B023
        stop(worker, signal.SIGTERM)
        assert worker.process.wait(30) == 0, worker.log()
        record = handle.record()
        assert (record.status, record.lost) == (Status.QUEUED, 0)
    started(here, "one")
    assert handle.result(timeout=30) == "one"
    assert handle.record().lost == 0


@pytest.mark.parametrize(
    ("stop", "number"), [(to_first, signal.SIGTERM), (to_all, signal.SIGTERM), (to_all, signal.SIGINT)]
)
def test_a_run_ends_within_the_grace(here: Site, stop: Stop, number: int) -> None:
    worker = started(here, "one", "--threads", "2")
    handles = [here.client.submit("site.nap", 1.0) for _ in range(2)]
    wait_until(lambda: all(here.runs(handle.id) for handle in handles), "both tasks run")
    stop(worker, number)
    assert worker.process.wait(30) == 0, worker.log()
    assert [handle.record().status for handle in handles] == [Status.SUCCESS] * 2
    assert [len(here.runs(handle.id)) for handle in handles] == [1, 1]


@pytest.mark.parametrize("stop", [to_all, to_all_the_worker_last])
def test_a_run_whose_own_process_got_the_signal_too_is_requeued(here: Site, stop: Stop) -> None:
    worker = started(here, "one", "--threads", "2")
    handles = [here.client.submit("site.shell", "sleep 1.5") for _ in range(2)]
    wait_until(lambda: all(here.runs(handle.id) for handle in handles), "both tasks run")
    stop(worker, signal.SIGTERM)
    assert worker.process.wait(30) == 0, worker.log()
    for handle in handles:
        record = handle.record()
        assert (record.status, record.lost, record.error) == (Status.QUEUED, 0, None)
        assert record.note == "requeued: its worker was stopped"
    started(here, "two", "--threads", "2")
    assert [handle.result(timeout=30) for handle in handles] == [0, 0]


def test_a_run_that_fails_while_its_worker_stops_has_failed(here: Site) -> None:
    gate = here.folder / "gate"
    handle = here.client.submit("site.shell", f"until test -e {gate}; do sleep 0.05; done; exit 3")
    worker = started(here, "one")
    wait_until(lambda: here.runs(handle.id), "the task runs")
    to_first(worker, signal.SIGTERM)
    wait_until(lambda: "stopping" in worker.log(), "the worker stops")
    gate.touch()
    assert worker.process.wait(30) == 0, worker.log()
    record = handle.record()
    assert record.status == Status.FAILED
    assert record.error is not None
    assert record.error.type == "CalledProcessError"


def test_a_child_that_dies_while_its_worker_stops_is_not_lost(here: Site) -> None:
    handle = here.client.submit("site.nap", 30.0)
    worker = started(here, "one")
    wait_until(lambda: here.runs(handle.id), "the task runs")
    (child,) = worker.children()
    to_first(worker, signal.SIGTERM)
    wait_until(lambda: "stopping" in worker.log(), "the worker stops")
    os.kill(child, signal.SIGKILL)
    assert worker.process.wait(30) == 0, worker.log()
    record = handle.record()
    assert (record.status, record.lost) == (Status.QUEUED, 0)


def test_a_worker_with_an_outcome_that_redis_does_not_take_ends_soon(
    tmp_path: Path, redis_url: str, namespace: str
) -> None:
    with Proxy(Path(redis_url.removeprefix("unix://"))) as proxy:
        near, far = redis_url.replace("://", "+streams://", 1), f"redis://127.0.0.1:{proxy.port}"
        with site(tmp_path, near, redis_url, namespace, LEASE) as here:
            here.client.provision()
            worker = started(here, "one", YADTQ_BACKEND=far)
            gate = tmp_path / "gate"
            handle = here.client.submit("site.held", str(gate))
            wait_until(lambda: here.runs(handle.id), "the task runs")
            proxy.blackhole = True
            gate.touch()
            time.sleep(0.5)  # nothing shows that the run has ended: the outcome cannot be written
            began = time.monotonic()
            assert worker.terminate(60) == 0, worker.log()
            assert time.monotonic() - began < 10.0
            assert "1 outcome(s) could not be written" in worker.log()


BREAKING = """
import os
from pathlib import Path
from yadtq_core import hookimpl
from yadtq_core.backends.redis.backend import RedisBackend

call, since = os.environ["BREAKS"], Path(os.environ["BREAKS_SINCE"])
sound = getattr(RedisBackend, call)

def broken(*arguments, **options):
    if since.exists():
        raise RuntimeError("a bug in " + call)
    return sound(*arguments, **options)

setattr(RedisBackend, call, broken)

@hookimpl
def yadtq_worker_started(worker): ...
"""
"""A plugin that breaks one call of the backend as soon as a file exists."""


@pytest.mark.parametrize(
    ("call", "thread"), [("claim", "intake"), ("finish", "completion"), ("extend", "keeper"), ("sweep", "sweeper")]
)
def test_a_worker_with_a_thread_that_crashes_requeues_its_runs_and_ends(here: Site, call: str, thread: str) -> None:
    installed = here.folder / "installed"
    installed.mkdir()
    write_distribution(installed, "breaking", "1.0", BREAKING, hooks={"breaking": "breaking"})
    path, since = f"{here.environment['PYTHONPATH']}{os.pathsep}{installed}", here.folder / "since"
    worker = started(here, "one", "--threads", "2", PYTHONPATH=path, BREAKS=call, BREAKS_SINCE=str(since))
    long = here.client.submit("site.held", str(here.folder / "gate"))
    wait_until(lambda: here.runs(long.id), "the long task runs")
    since.touch()
    short = here.client.submit("site.nap", 0.0)
    assert worker.process.wait(15) == 1, worker.log()
    assert worker.log().count(f"the {thread} thread ended by a bug: this worker stops") == 1
    for record in (long.record(), short.record()):
        assert record.status in (Status.QUEUED, Status.SUCCESS), worker.log()
        assert record.lost == 0
    (here.folder / "gate").touch()
    started(here, "two", "--threads", "2")
    assert [long.result(timeout=20), short.result(timeout=20)][0] == "two"

"""W: workers that are killed, stopped, kept busy, told to end, and started twice."""

from __future__ import annotations

import os
import signal
import time

from verification.faults import history as h
from verification.faults import raw
from verification.faults.recording import UNBOUND
from verification.faults.scene import Scene
from verification.faults.view import TERMINAL

NAPPING = (
    *("add", "add", "add", "square", "square", "square", "square", "effect", "effect"),
    *("flaky", "flaky", "doomed", "unwanted"),
)
KILLERS = 5
ODD = ("faults.add", "faults.square")
"""The tasks that a worker with a broken plugin cannot bind."""
LOST_LIMIT = 3
"""The limit in the settings: how many times a task whose child died is started again."""


def w1(scene: Scene) -> None:
    """A worker is killed (SIGKILL) in the middle of its tasks, three times."""
    scene.workers("w0", "w1")
    scene.submitter(naps=0.8, kinds=NAPPING, rate=25)
    for number in range(1, 4):
        name = f"w{number}"
        scene.wait_running(name, 0.2)
        with scene.fault("killed", name, since="b"):
            scene.workers_by_name[name].kill()
        scene.workers(f"w{number + 1}")


def w1_again(scene: Scene) -> None:
    """A worker is killed (SIGKILL) and started again at once under its name, three times; it is the only worker."""
    four_slots = ("-c", "2", "--threads", "2")
    scene.workers("w1", options=four_slots)
    scene.submitter(naps=1.2, kinds=NAPPING, rate=25)
    for _ in range(3):
        scene.wait_running("w1", 0.2)
        with scene.fault("killed", "w1", since="b"):
            scene.workers_by_name["w1"].kill()
        scene.workers("w1", options=four_slots)
        time.sleep(3.0)


def w2(scene: Scene) -> None:
    """A child is killed (SIGKILL) again and again, its worker is not."""
    (worker,) = scene.workers("w1")
    scene.submitter(naps=0.3, kinds=NAPPING, rate=25)
    scene.wait_for(scene.started(5), "it has begun", 60)
    for _ in range(6):
        scene.wait_for(lambda: bool(worker.children()), "there is a child", 60)
        scene.wait_running("w1")
        with scene.fault("child killed", "w1", since="b"):
            os.kill(worker.children()[0], signal.SIGKILL)
        time.sleep(0.7)


def w3(scene: Scene) -> None:
    """A worker and its children are stopped for two leases, and go on (a zombie)."""
    scene.workers("w1")
    scene.submitter(naps=1.0, kinds=NAPPING, rate=25)
    scene.wait_running("w1", 0.2)
    _stopped(scene, "w1", 2 * scene.lease)


def w4(scene: Scene) -> None:
    """A worker is stopped for two leases while its children run on."""
    (worker,) = scene.workers("w1")
    scene.workers("w2")
    scene.submitter(naps=1.0, kinds=NAPPING, rate=25)
    scene.wait_running("w1", 0.2)
    with scene.fault("stopped", "w1", since="b"):
        worker.signal(signal.SIGSTOP)
        time.sleep(2 * scene.lease)
        worker.signal(signal.SIGCONT)


def w5(scene: Scene) -> None:
    """A worker and its children are stopped for less than a lease."""
    scene.workers("w1", "w2")
    scene.submitter(naps=0.5, kinds=NAPPING, rate=10)
    for _ in range(2):
        scene.wait_running("w1")
        with scene.fault("stopped"):
            scene.workers_by_name["w1"].signal_all(signal.SIGSTOP)
            time.sleep(0.4 * scene.lease)  # the last extension may be a third of a lease old
            scene.workers_by_name["w1"].signal_all(signal.SIGCONT)
        time.sleep(1.0)


def w6(scene: Scene) -> None:
    """Tasks hold the interpreter in single calls, for longer than a lease."""
    scene.workers("w1", "w2")
    scene.submitter("hogs", count=4, naps=2.5 * scene.lease, kinds=("hog",), rate=20)
    scene.submitter(naps=0.1)


def w7(scene: Scene) -> None:
    """Tasks kill their child (SIGKILL) in every run: they fail in the end, the others succeed."""
    scene.workers("w1", "w2", options=("-c", "2", "--threads", "1"))  # a separate child for each run
    scene.submitter("killers", count=KILLERS, threads=1, kinds=("killer",), rate=2)
    scene.submitter()
    scene.come_to_rest(120)
    killers = [event.id for event in scene.events() if isinstance(event, h.Submit) and event.task == "faults.killer"]
    ended = [record for record in scene.client.query(killers) if record and record.error]
    told = [(record.error and record.error.type, record.lost) for record in ended]
    assert told == [("WorkerLost", LOST_LIMIT + 1)] * KILLERS, told
    hit = {task_id for task_id, record in scene.lookout.freeze().records.items() if record.lost} - set(killers)
    assert not hit, f"of others the child died too: {hit}"
    missing = set(killers) - raw.dead_letters(scene)
    assert not missing, f"no dead letter for {missing}"


def w12(scene: Scene) -> None:
    """Workers get SIGTERM while they work, twice with a second signal, and while they start."""
    scene.workers("w0", "w1", "w2", "w3")
    scene.submitter(naps=0.6, kinds=NAPPING, rate=25)
    scene.wait_running("w1")
    scene.asked_to_end(scene.workers_by_name["w1"], "w1", 40)
    scene.submitter("long", count=5, naps=6.0, kinds=("long",))
    scene.wait_running("w2", 1.5)
    hurried = scene.workers_by_name["w2"]
    hurried.signal(signal.SIGTERM)
    time.sleep(0.3)
    scene.asked_to_end(hurried, "w2", 20)
    for number in range(4, 7):
        worker = scene.worker(f"w{number}", "-c", "1")
        time.sleep(0.4 * (number - 3))
        code = worker.terminate(40)
        assert code in {0, -signal.SIGTERM}, worker.log()  # it may not have come to hear signals yet


def w13(scene: Scene) -> None:
    """All processes of a worker get SIGTERM, as from systemd, four times, while its runs take longer than the grace."""
    scene.workers("heir", options=("-c", "2", "--threads", "8"))  # slots for all that the others requeue
    scene.submitter(naps=0.6, kinds=NAPPING, rate=8)
    scene.submitter("long", count=30, naps=4.0, kinds=("long",), rate=1)
    for number in range(1, 5):
        worker = scene.worker(f"w{number}", "-c", "2", environment={"YADTQ_SHUTDOWN_GRACE": "0.5s"})
        scene.wait_online(worker)
        scene.wait_running(f"w{number}", 0.5)
        scene.asked_to_end(worker, f"w{number}", 20, everyone=True)
    scene.come_to_rest(120)
    lost = {task_id for task_id, record in scene.lookout.freeze().records.items() if record.lost}
    assert not lost, f"they count as lost: {lost}"


def w14(scene: Scene) -> None:
    """Two workers have the same name."""
    first, second = scene.worker("w1", "-c", "1"), scene.worker("w1", "-c", "1")
    scene.wait_online(first)
    scene.wait_online(second)
    scene.submitter(naps=0.1)


def w15(scene: Scene) -> None:
    """A plugin's hook raises for half of the tasks in the only worker; a healthy worker comes 20 s later."""
    odd = scene.worker("w1", "-c", "1", "--threads", "2", environment={UNBOUND: ",".join(ODD)})
    scene.wait_online(odd)
    (row,) = scene.client.workers()
    assert not set(ODD) & set(row.stats.tasks), row.stats.tasks
    scene.submitter(naps=0.1, kinds=("add", "square", "effect", "flaky"), rate=50)
    time.sleep(20.0)
    records = scene.lookout.freeze().records.values()
    ended = [record for record in records if record.task in ODD and record.status in TERMINAL]
    assert len(records) > 50, len(records)
    assert not ended, ended[:3]
    scene.workers("w2")
    scene.come_to_rest(120)
    for name in ODD:
        assert odd.log().count(f"task {name} is left to other workers: plugin recorder") == 1, odd.log()
    begun = [one for one in scene.events() if isinstance(one, h.Started)]
    tasks = {one.id: one.task for one in scene.events() if isinstance(one, h.Submit)}
    late = [one for one in begun if tasks[one.id] in ODD and (one.attempt, one.worker) != (1, "w2")]
    assert not late, f"not the first attempt, or in the wrong worker: {late[:3]}"


def _stopped(scene: Scene, name: str, seconds: float) -> None:
    """Stop a worker and its children for a while, during which another is there."""
    worker = scene.workers_by_name[name]
    with scene.fault("stopped", name, since="b"):
        worker.signal_all(signal.SIGSTOP)
        scene.workers("heir")
        time.sleep(seconds)
        worker.signal_all(signal.SIGCONT)

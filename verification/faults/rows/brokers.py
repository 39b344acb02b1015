"""K: a broker that is killed, stopped, cut off, lied for, and whose topics change."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from verification.faults import history as h
from verification.faults import raw
from verification.faults.lookout import QUEUE
from verification.faults.scene import Scene
from verification.faults.stage import FAR
from yadtq_core.brokers import kafka
from yadtq_core.brokers.kafka.names import Names
from yadtq_core.settings import Settings

SESSION_SECONDS = 10.0
"""The group's: a member that is silent for longer is dropped."""
LOST_SECONDS = 1.2


def k1(scene: Scene) -> None:
    """The broker is killed (SIGKILL) under load and started again, twice."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30)
    for pause in (1.0, 4.0):
        scene.wait_for(scene.started(20), "it has begun", 60)
        with scene.fault("broker killed"):
            scene.stage.kafka.kill()
            time.sleep(pause)
            scene.stage.kafka.start()
        time.sleep(1.0)


def k2(scene: Scene) -> None:
    """The broker is down for long while tasks are submitted."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30, threads=8)
    scene.wait_for(scene.started(10), "it has begun", 60)
    with scene.fault("broker down"):
        scene.stage.kafka.kill()
        time.sleep(scene.outage)
        scene.stage.kafka.start()


def k3(scene: Scene) -> None:
    """The broker is stopped (SIGSTOP) for 8 s, and then for long."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30, threads=8)
    for seconds in (8.0, scene.outage):
        scene.wait_for(scene.started(10), "it has begun", 60)
        with scene.fault("broker stopped"):
            os.kill(scene.stage.kafka.pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(scene.stage.kafka.pid, signal.SIGCONT)
        time.sleep(3.0)


def k4(scene: Scene) -> None:
    """One worker is cut off from the broker alone, for longer than the group waits for it."""
    cut_off = scene.worker("w1", "-c", "1", "--threads", "2", place=FAR)
    scene.wait_online(cut_off)
    scene.workers("w2")
    scene.submitter(rate=20, naps=0.3)
    scene.wait_running("w1")
    with scene.fault("cut off from the broker"), scene.stage.to_kafka.far.cut_off():
        time.sleep(2 * SESSION_SECONDS)


def k5(scene: Scene) -> None:
    """The broker carries out requests, but all its replies are lost."""
    scene.workers("w1", "w2")
    scene.submitter(rate=20)
    for seconds in (2.0, 6.0, 14.0):
        scene.wait_for(scene.started(10), "it has begun", 60)
        with scene.fault("replies lost"), scene.stage.to_kafka.near.losing_replies():
            time.sleep(seconds)
        time.sleep(2.0)


def k6(scene: Scene) -> None:
    """A member joins and leaves the group all the time, and does nothing with its messages."""
    scene.workers("w1", "w2")
    scene.submitter(rate=scene.tasks / scene.outage, naps=0.05)
    settings = Settings(broker=scene.stage.broker(), backend=scene.stage.backend(), namespace=scene.namespace)
    broker = kafka.open(settings)
    scene.at_end.callback(broker.close, 2.0)
    until = time.monotonic() + scene.outage
    with scene.fault("rebalanced"):
        while time.monotonic() < until:
            member = broker.consumer(["default"], member="restless")
            joined = time.monotonic()
            while time.monotonic() < joined + 0.5:
                member.poll(1, 0.1)
            member.close(2.0)
            time.sleep(0.25)


def k7(scene: Scene) -> None:
    """A worker is stopped until the group has dropped it, and comes back with its old offsets."""
    scene.workers("w1", "w2")
    scene.submitter(rate=20, naps=0.3)
    scene.wait_running("w1")
    worker = scene.workers_by_name["w1"]
    with scene.fault("stopped", "w1", since="b"):
        worker.signal_all(signal.SIGSTOP)
        time.sleep(SESSION_SECONDS + 3.0)
        worker.signal_all(signal.SIGCONT)


def k10(scene: Scene) -> None:
    """Messages are delivered again, 2 to 50 times, while their tasks run and after."""
    scene.workers("w1", "w2")
    scene.submitter(rate=40, naps=0.3)
    for least in (scene.tasks // 4, scene.tasks // 2):
        scene.wait_for(scene.started(least), f"{least} have begun", 60)
        found = scene.lookout.bodies()
        copies = [body for number, body in enumerate(found) for _ in range(2 + number % 4)] + found[-1:] * 50
        with scene.fault("delivered again"):
            raw.produce(scene, copies)


def k12(scene: Scene) -> None:
    """The topic does not exist: two clients and two workers start at once, and each would create it."""
    raw.delete_topic(scene)
    for name in ("c1", "c2"):
        scene.submitter(name, count=scene.tasks // 2, rate=25)
    scene.workers("w1", "w2")
    outcomes = [event for event in scene.events() if isinstance(event, h.Submitted)]
    assert all(event.a - event.b < 5.0 for event in outcomes), "a first submit took long"


def k13(scene: Scene) -> None:
    """The topic grows from 8 to 16 partitions under load, and then is deleted and made anew."""
    scene.workers("w1", "w2")
    scene.submitter(rate=20, naps=0.2)
    scene.wait_for(scene.started(scene.tasks // 5), "it has begun", 60)
    raw.grow_topic(scene, 16)
    scene.wait_for(scene.started(scene.tasks // 2), "it goes on", 60)
    with scene.fault("topic deleted"):
        scene.lookout.topic()
        raw.delete_topic(scene)
        scene.provision()


def k14(scene: Scene) -> None:
    """The group is deleted while no worker is there: the whole topic is read again."""
    first = scene.workers("w1", "w2")
    scene.submitter("c1", count=scene.tasks // 2)
    scene.wait_for(scene.started(scene.tasks // 3), "it has begun", 60)
    for number, worker in enumerate(first, 1):
        scene.asked_to_end(worker, f"w{number}", 40)
    with scene.fault("group deleted"):
        raw.delete_group(scene)
    scene.submitter("c2", count=scene.tasks - scene.tasks // 2)
    scene.workers("w3", "w4")


def k22(scene: Scene) -> None:
    """The broker loses its last second, as with the power (its logs are cut), twice."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30, naps=0.2)
    broker = scene.stage.kafka
    for least in (20, scene.tasks // 2):
        scene.wait_for(scene.started(least), "it has begun", 60)
        with scene.fault("broker lost its last second"):
            sizes = {file: file.stat().st_size for file in _logs(scene)}
            time.sleep(LOST_SECONDS)
            broker.kill()
            cut = [file.stat().st_size - sizes.get(file, 0) for file in _logs(scene)]
            for file in _logs(scene):
                os.truncate(file, sizes.get(file, 0))
            broker.start()
        assert sum(cut) > 0, "nothing was lost"


def _logs(scene: Scene) -> list[Path]:
    """Return the files of the queue's messages and of the group's offsets; the dead letters are left alone."""
    data, topic = scene.stage.kafka.folder / "data", Names(scene.namespace).topic(QUEUE)
    folders = [*data.glob(f"{topic}-[0-9]*"), *data.glob("__consumer_offsets-*")]
    return sorted(file for folder in folders for file in folder.glob("*.log"))

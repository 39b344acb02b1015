"""C: clients that die between two writes, repeat themselves, or have another time; and everything at once."""

from __future__ import annotations

import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from verification.faults import history as h
from verification.faults import raw
from verification.faults.row import Skip
from verification.faults.scene import Scene
from yadtq_core.errors import IdConflict

LONG_SECONDS = 25.0
READY_SECONDS = 20.0
"""Shorter than the long task, after which the worker would take what is ready."""


def c1(scene: Scene) -> None:
    """Clients die between the record and the message, each with some under way."""
    scene.workers("w1", "w2")
    _dying(scene, "created")


def c1_all_slots_taken(scene: Scene) -> None:
    """Clients die between the record and the message while every slot is taken: the records must become ready."""
    scene.workers("w1", options=("-c", "1", "--threads", "1"))
    scene.submitter("long", count=1, kinds=("long",), naps=LONG_SECONDS)
    scene.wait_running("w1")
    _dead(scene, "created", scene.tasks // 3, threads=16, kinds=("add",))
    without = scene.lookout.freeze().records.keys() - raw.published(scene)
    assert without, "every record has its message"
    scene.wait_for(lambda: without <= _ready(scene), "all are ready", READY_SECONDS)
    scene.workers("w2")


def _ready(scene: Scene) -> set[str]:
    """Return the IDs that any worker may take."""
    return {task_id for task_id, indexes in scene.lookout.freeze().indexes.items() if indexes == ["ready:default"]}


def c2(scene: Scene) -> None:
    """Clients die after the broker's acknowledgement, before the confirm."""
    scene.workers("w1", "w2")
    _dying(scene, "published")


def _dying(scene: Scene, failpoint: str) -> None:
    """Let three clients die side by side, and a last one submit the rest: `scene.tasks` submits at least.

    A client writes a submit into the history before it makes the call. So the submits of a client that was killed are
    as many as its failpoint counts, or more: those that were in flight.
    """
    _dead(scene, failpoint, math.ceil(scene.tasks / 6))
    scene.submitter("last", count=math.ceil(scene.tasks / 2))


def _dead(scene: Scene, failpoint: str, times: int, **plan: Any) -> None:
    """Let three clients submit side by side, and return when each has died at its failpoint."""
    clients = [scene.submitter(f"c{number}", failpoint=f"{failpoint}:{times}", rate=200, **plan) for number in range(3)]
    for client in clients:
        with scene.fault(f"client died ({failpoint})"):
            code = client.wait(90)
        assert code == -signal.SIGKILL, client.log()


def c3(scene: Scene) -> None:
    """Messages without a record arrive (Kafka was written first)."""
    scene.workers("w1", "w2")
    bodies = raw.messages_by_hand(scene, scene.tasks // 2)
    with scene.fault("messages by hand"):
        raw.produce(scene, bodies)
    scene.submitter(count=scene.tasks // 2)


def c4(scene: Scene) -> None:
    """Every submit is repeated three times; then one ID with other arguments."""
    scene.workers("w1", "w2")
    client = scene.submitter(repeats=3)
    client.wait(120)
    taken = next(event for event in scene.events() if isinstance(event, h.Submit) and event.task == "faults.add")
    try:
        scene.client.using(id=taken.id).submit("faults.add", 1, 2, 3, 4)
    except IdConflict:
        return
    raise AssertionError(f"{taken.id} was submitted with other arguments and nothing was said")


def c5(scene: Scene) -> None:
    """Clients' and workers' clocks are wrong, by days and hours, and one runs faster."""
    library = _wrong_clock(scene.folder)

    def wrong(seconds: float, rate: float = 1.0) -> dict[str, str]:
        return {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(seconds), "CLOCK_RATE": str(rate)}

    for name, clock in (("w1", wrong(7200)), ("w2", wrong(-7200)), ("w3", wrong(0, 1.5))):
        scene.wait_online(scene.worker(name, "-c", "1", "--threads", "2", environment=clock))
    for number, seconds in enumerate((86400.0, -86400.0)):
        scene.submitter(f"c{number}", environment=wrong(seconds), count=scene.tasks // 2, naps=0.8, rate=12)
    scene.wait_running("w1", 0.3)
    with scene.fault("killed", "w1", since="b"):
        scene.workers_by_name["w1"].kill()


def _wrong_clock(folder: Path) -> Path:
    """Return the library that gives a process another time of day, made here."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise Skip("it needs a C compiler, on Linux")
    library = folder / "clock.so"
    source = Path(__file__).parent.with_name("clock.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def c9(scene: Scene) -> None:
    """A long task is in front of thousands of short ones, and its worker is killed."""
    scene.workers("w1")
    scene.submitter("long", count=1, kinds=("long",), naps=25.0)
    scene.wait_running("w1")
    scene.workers("w2")
    scene.submitter("many", count=10 * scene.tasks, rate=500, threads=8, kinds=("add",))
    scene.wait_for(scene.started(5 * scene.tasks), "half of them have begun", 120)
    with scene.fault("killed", "w1", since="b"):
        scene.workers_by_name["w1"].kill()


def c10(scene: Scene) -> None:
    """Everything is killed at once, services, workers and clients, and started again."""
    scene.workers("w1", "w2")
    scene.submitter("c1", rate=30, naps=0.3)
    scene.wait_for(scene.started(scene.tasks // 3), "it has begun", 60)
    with scene.fault("all killed", "*"):
        for process in scene.processes:
            process.kill()
        scene.stage.valkey.kill()
        scene.stage.kafka.kill()
        time.sleep(1.0)
        scene.stage.valkey.start()
        scene.stage.kafka.start()
        scene.workers("w3", "w4")
    scene.submitter("c2")

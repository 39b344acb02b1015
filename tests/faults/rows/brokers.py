"""K: a broker that is killed, stopped, cut off, lied for, and whose topics change."""

from __future__ import annotations

import time

from tests.faults.scene import Scene


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

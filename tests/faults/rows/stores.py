"""R: a store that is killed, loses what it knew, is replaced, cut off and slow."""

from __future__ import annotations

import time

from tests.faults.scene import Scene


def r1(scene: Scene) -> None:
    """The store is killed (SIGKILL) under load and started again with its append-only file, three times."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30)
    for pause in (0.0, 0.5, 1.0):
        scene.wait_for(scene.started(20), "it has begun", 60)
        with scene.fault("store killed"):
            scene.stage.valkey.kill()
            time.sleep(pause)
            scene.stage.valkey.start()
        time.sleep(1.0)

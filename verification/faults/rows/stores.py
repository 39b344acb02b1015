"""R: a store that is killed, loses records, is replaced, cut off and slow.

Tasks with retries (`flaky`, `doomed`) are left out of the rows in which the store loses writes: a retry that waits is
as durable as the store.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.proxy import Proxy
from verification.faults.scene import Scene
from verification.faults.stage import FAR
from yadtq_local import LocalValkey

DURABLE = ("add", "add", "add", "square", "square", "square", "effect", "effect", "hopeless", "unwanted")
LOST_SECONDS = 1.2


def r1(scene: Scene) -> None:
    """The store is killed (SIGKILL) under load and started again with its append-only file, three times."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30)
    for pause in (0.0, 0.5, 1.0):
        scene.wait_for(scene.started(20), "it has begun", 60)
        with scene.fault("store killed"):
            _restarted(scene, pause)
        time.sleep(1.0)


def r1_every_second(scene: Scene) -> None:
    """The same with `appendfsync everysec`, as yadtq recommends: on a slow disk the store may lose its last second."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30, kinds=DURABLE)
    for pause in (0.0, 0.5, 1.0):
        scene.wait_for(scene.started(20), "it has begun", 60)
        with scene.fault("store killed", "*", loses=True):
            _restarted(scene, pause)
        time.sleep(1.0)


def _restarted(scene: Scene, pause: float) -> None:
    scene.stage.valkey.kill()
    time.sleep(pause)
    scene.stage.valkey.start()


def r2(scene: Scene) -> None:
    """The store loses its last second, as with the power (its append-only file is cut), twice."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30, kinds=DURABLE, naps=0.2)
    valkey = scene.stage.valkey
    for least in (20, scene.tasks // 2):
        scene.wait_for(scene.started(least), "it has begun", 60)
        with scene.fault("power lost", "*", loses=True):
            sizes = {file: file.stat().st_size for file in _appended(valkey.folder)}
            time.sleep(LOST_SECONDS)
            valkey.kill()
            for file in _appended(valkey.folder):
                os.truncate(file, sizes.get(file, 0))
            valkey.start()


def _appended(folder: Path) -> list[Path]:
    return sorted((folder / "appendonlydir").glob("*.incr.aof"))


def r3(scene: Scene) -> None:
    """The store has no persistence and is killed: everything is lost."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30, kinds=DURABLE, naps=0.2)
    scene.wait_for(scene.started(scene.tasks // 3), "it has begun", 60)
    with scene.fault("store lost", "*", loses=True):
        scene.stage.valkey.kill()
        scene.stage.valkey.start()


def r4(scene: Scene) -> None:
    """The store is emptied (FLUSHALL)."""
    scene.workers("w1", "w2")
    scene.submitter(rate=30, kinds=DURABLE, naps=0.2)
    scene.wait_for(scene.started(scene.tasks // 3), "it has begun", 60)
    with scene.fault("store emptied", "*", loses=True):
        scene.lookout.store.flushall()


def r5(scene: Scene) -> None:
    """The store dies, and a replica that is 2 s behind takes its place."""
    stage = scene.stage
    with _replica(scene) as (replica, link):
        scene.workers("w1", "w2")
        scene.submitter(rate=30, kinds=DURABLE, naps=0.2)
        scene.wait_for(scene.started(scene.tasks // 3), "it has begun", 60)
        with scene.fault("failed over", "*", loses=True):
            link.blackhole = True
            time.sleep(2.0)
            stage.valkey.kill()
            with redis.Redis.from_url(replica.url) as promoted:
                promoted.replicaof("NO", "ONE")
            for way in (stage.to_valkey.near, stage.to_valkey.far):
                way.target = _port(replica)
                way.reset()
        scene.lookout.use(replica.url)
        scene.come_to_rest(90)


@contextmanager
def _replica(scene: Scene) -> Iterator[tuple[LocalValkey, Proxy]]:
    """Yield a replica of the store that has caught up with it, and the proxy between; it lives until the last look."""
    link = scene.at_end.enter_context(Proxy(_port(scene.stage.valkey)))
    replica = LocalValkey(scene.folder / "replica", port=0, config={"replicaof": f"127.0.0.1 {link.port}"})
    scene.at_end.enter_context(replica)
    with redis.Redis.from_url(replica.url) as asked:
        scene.wait_for(lambda: asked.info("replication")["master_link_status"] == "up", "the replica has caught up", 60)
    yield replica, link


def _port(valkey: LocalValkey) -> int:
    return int(valkey.url.rpartition(":")[2])


def r7(scene: Scene) -> None:
    """One worker is cut off from the store alone, for three leases."""
    cut_off = scene.worker("w1", "-c", "1", "--threads", "2", place=FAR)
    scene.wait_online(cut_off)
    scene.workers("w2")
    scene.submitter(rate=20, naps=0.4)
    scene.wait_running("w1")
    with scene.fault("cut off from the store", "w1", since="b"), scene.stage.to_valkey.far.cut_off():
        time.sleep(3 * scene.lease)


def r8(scene: Scene) -> None:
    """The store carries out requests, but all its replies are lost."""
    scene.workers("w1", "w2")
    scene.submitter(rate=20, naps=0.2)
    for seconds in (0.5, 2.0, 4.0):
        scene.wait_for(scene.started(10), "it has begun", 60)
        with scene.fault("replies lost"), scene.stage.to_valkey.near.losing_replies():
            time.sleep(seconds)
        time.sleep(2.0)


def r9(scene: Scene) -> None:
    """The network to the store is slow (50 to 500 ms), connections are reset, and replies cut."""
    scene.workers("w1", "w2")
    scene.submitter(rate=20, naps=0.2)
    way = scene.stage.to_valkey.near
    scene.wait_for(scene.started(10), "it has begun", 60)
    with scene.fault("bad network"):
        way.resets, way.torn = 0.01, 0.01
        for latency in (0.025, 0.1, 0.25):
            way.latency = latency  # each way
            time.sleep(5.0)
        way.latency = way.resets = way.torn = 0.0
        way.reset()

"""C6: two versions of yadtq side by side, as during an upgrade. The newer one writes version 2 of the wire format."""

from __future__ import annotations

from typing import Any

from verification.faults import history as h
from verification.faults import raw
from verification.faults.recording import NEWER
from verification.faults.scene import Scene

KINDS = ("add", "add", "square", "square", "effect", "flaky", "unwanted")
"""None of them ends in a dead letter."""
TASKS_A_SECOND = 30.0
FIELD, VALUE = "zz", b"of a later version"
"""A field that no script knows."""
OLD, NEW = "old", "new"


def c6(scene: Scene) -> None:
    """Workers and clients of two versions run side by side; the newer ones use a newer wire format."""
    half: dict[str, Any] = {
        "count": max(scene.tasks, round(TASKS_A_SECOND * scene.outage)) // 2,
        "rate": TASKS_A_SECOND / 2,
        "kinds": KINDS,
    }
    scene.wait_online(scene.worker(NEW, "-c", "1", "--threads", "2", environment=NEWER))
    scene.submitter(f"{OLD}-client", **half)
    scene.wait_for(scene.started(10, NEW), "the newer worker runs messages of the older format", 60)
    (old,) = scene.workers(OLD)
    scene.submitter(f"{NEW}-client", environment=NEWER, **half)
    scene.wait_for(scene.started(10, OLD), "the older worker runs messages of its format", 60)
    marked = _marked(scene)
    scene.come_to_rest(150 + scene.outage)
    _check_runs(scene.events())
    assert "newer" in old.log(), f"the older worker met no message of the newer format:\n{old.log()[-2000:]}"
    letters = raw.dead_letters(scene)
    assert not letters, f"{len(letters)} dead letters: {', '.join(sorted(letters)[:3])}"
    stripped = [key for key in marked if scene.lookout.store.hget(key, FIELD) != VALUE]
    assert not stripped, f"{len(stripped)} of {len(marked)} records have lost a field that the scripts do not know"


def _marked(scene: Scene) -> list[bytes]:
    """Write an unknown field into every record; return the keys of the records."""
    store = scene.lookout.store
    keys = list(store.scan_iter(f"yadtq:{{{scene.namespace}:0}}:task:*"))
    for key in keys:
        store.hset(key, FIELD, VALUE)
    return keys


def _check_runs(events: list[h.Known]) -> None:
    """Raise AssertionError unless both workers ran older messages, and the newer worker ran all newer ones."""
    newer = {one.id for one in events if isinstance(one, h.Submit) and one.who.startswith(f"{NEW}-client")}
    starts = [(one.worker, one.id in newer) for one in events if isinstance(one, h.Started)]
    found = set(starts)
    assert (OLD, True) not in found, "the older worker ran a message of the newer format"
    assert found == {(OLD, False), (NEW, False), (NEW, True)}, f"runs by worker and format: {sorted(found)}"

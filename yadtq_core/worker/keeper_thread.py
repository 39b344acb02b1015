"""Drives the keeper: beats, extends, sweeps; what a sweep finds is run here, published or buried."""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from yadtq_core.envelope import Encoded
from yadtq_core.errors import BrokerUnavailable, YadtqError
from yadtq_core.model import Delivery, Due, Epoch, ExtendCode, Hold, Lease, Status, WorkerStats
from yadtq_core.worker.desk import Claimer, Desk

log = logging.getLogger("yadtq.worker")

SWEEP_LIMIT = 200
ACK_SECONDS = 5.0
MAX_WAIT_SECONDS = 0.5


class KeeperThread:
    """The loop of the keeper; `run` returns when the worker has finished."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._claimer = Claimer(desk)
        self._epochs: tuple[Epoch, ...] = ()
        self._lost: set[tuple[str, int]] = set()

    def run(self) -> None:
        """Keep the worker's place until it has finished."""
        desk = self._desk
        while not desk.finished.is_set():
            now = desk.alive["keeper"] = time.monotonic()
            due = desk.keeper.due(now)
            was_silent = due.beat and self.beat("stopping" if desk.stopping.is_set() else "online")
            if due.extend or was_silent:
                self._extend(self._holds())
            elif desk.progress:
                self._extend([hold for hold in self._holds() if hold.progress])
            if due.sweep and not was_silent and not desk.stopping.is_set():
                self._sweep()
            desk.poke.wait(min(desk.keeper.wait(time.monotonic()), MAX_WAIT_SECONDS))
            desk.poke.clear()

    # Heartbeat and leases

    def beat(self, state: str) -> bool:
        """Tell the backend that this worker lives, and learn the epochs; True if it had been silent for long."""
        desk = self._desk
        sent_at = time.monotonic()
        try:
            answer = desk.backend.heartbeat(desk.identity, self._stats(state), self._epochs)
        except YadtqError as error:
            desk.health.backend_failed(error)
            desk.keeper.beat_failed(time.monotonic())
            return False
        desk.health.backend_answered()
        was_silent = desk.keeper.beat_answered(sent_at, time.monotonic())
        self._epochs = answer.epochs
        with desk.lock:
            desk.intake.beat(answer.epochs)
        return was_silent

    def _stats(self, state: str) -> WorkerStats:
        desk = self._desk
        running = desk.executor.running
        return WorkerStats(
            state=state,
            tasks_executed=desk.executed,
            running=min(running, desk.executor.slots),
            slots=desk.executor.slots,
            free=desk.executor.free if state == "online" else 0,
            queues=tuple(desk.settings.queues),
            tasks=tuple(sorted(desk.executor.tasks)),
            memory=_memory(),
            version=_version(),
        )

    def _holds(self) -> list[Hold]:
        desk = self._desk
        leases: list[Lease] = [*desk.executor.held(), *desk.completion.held()]
        return [
            Hold(lease.id, lease.fence, desk.progress.pop(lease.id, ""))
            for lease in {lease.id: lease for lease in leases}.values()
            if (lease.id, lease.fence) not in self._lost
        ]

    def _extend(self, holds: Sequence[Hold]) -> None:
        desk = self._desk
        if not holds:
            self._lost.clear()
            return
        try:
            codes = desk.backend.extend(holds, desk.identity)
        except YadtqError as error:
            desk.health.backend_failed(error)
            return
        for hold, code in zip(holds, codes, strict=True):
            if code is ExtendCode.CANCEL:
                desk.executor.cancel(hold.id)
            elif code is ExtendCode.LOST:
                self._lost.add((hold.id, hold.fence))
                log.debug("task %s is another's now; its outcome here will be refused", hold.id)

    # Sweeping

    def _sweep(self) -> None:
        """Look at what somebody must look at. First ask again for what an earlier claim left unanswered."""
        desk = self._desk
        if self._claimer.unanswered and not self._claimer.claim(()):
            return
        free = desk.executor.free
        with desk.lock:
            room = desk.window(free, time.monotonic()) if free else 0
        try:
            now_ms, dues = desk.backend.sweep(SWEEP_LIMIT, room)
            rest = self._take_over(dues, room)
            self._bury([due for due in rest if due.status is Status.FAILED], now_ms)
            self._publish([due for due in rest if due.status is not Status.FAILED], now_ms)
        except BrokerUnavailable as error:
            desk.health.broker_failed(error)
        except YadtqError as error:
            desk.health.backend_failed(error)

    def _take_over(self, dues: Sequence[Due], room: int) -> list[Due]:
        """Claim directly what this worker can run now; return what is left."""
        desk = self._desk
        mine: list[Delivery] = []
        rest: list[Due] = []
        with desk.lock:
            for due in dues:
                if desk.intake.runs(due.id):
                    continue
                if due.delivery is not None and len(mine) < room and self._can_run(due):
                    mine.append(due.delivery)
                else:
                    rest.append(due)
        reclaimed = [due.id for due in dues if due.reclaimed]
        if reclaimed:
            log.warning("reclaimed from lost workers: %s", ", ".join(reclaimed[:10]))
        desk.hungry = bool(mine)
        if dues:
            log.debug("sweep with room for %d: %d due, %d taken over", room, len(dues), len(mine))
        if mine:
            self._claimer.claim(mine)
        return rest

    def _can_run(self, due: Due) -> bool:
        desk = self._desk
        return due.status is Status.QUEUED and due.queue in desk.settings.queues and due.task in desk.executor.tasks

    def _publish(self, dues: Sequence[Due], now_ms: int) -> None:
        """Publish again what no consumer will be given; confirm the rest where it stands."""
        desk = self._desk
        if not dues or desk.broker.unacknowledged():
            return  # an outage must not multiply messages
        placed = [due for due in dues if due.position]
        gone = desk.broker.undeliverable([(due.queue, due.position) for due in placed]) if placed else []
        desk.backend.confirm([(due.id, due.position) for due, lost in zip(placed, gone, strict=True) if not lost])
        again = [due for due, lost in zip(placed, gone, strict=True) if lost]
        again += [due for due in dues if not due.position]
        if not again:
            return
        deliveries = self._messages(again)
        letters = [Encoded(d.message.id, d.message.queue, d.body) for d in deliveries]
        if letters:
            positions = desk.broker.publish(letters, timestamp_ms=now_ms).wait(ACK_SECONDS)
            confirmed = [(letter.id, p) for letter, p in zip(letters, positions, strict=True) if p is not None]
            desk.backend.confirm(confirmed)
            log.info("published again: %d", len(confirmed))

    def _bury(self, dues: Sequence[Due], now_ms: int) -> None:
        """Publish the dead letters of failed tasks; drop their messages once the broker has them."""
        desk = self._desk
        if not dues or desk.broker.unacknowledged():
            return
        deliveries = self._messages(dues)
        letters = [Encoded(d.message.id, d.message.queue, d.body) for d in deliveries]
        positions = desk.broker.publish_dead(letters, timestamp_ms=now_ms).wait(ACK_SECONDS) if letters else []
        buried = [letter.id for letter, position in zip(letters, positions, strict=True) if position is not None]
        without = {due.id for due in dues} - {letter.id for letter in letters}
        desk.backend.buried([*buried, *without])

    def _messages(self, dues: Sequence[Due]) -> list[Delivery]:
        """Return the messages of these, those that came with the sweep and those still to be read."""
        missing = [due.id for due in dues if due.delivery is None]
        read = dict(zip(missing, self._desk.backend.messages(missing), strict=True)) if missing else {}
        found = [due.delivery or read.get(due.id) for due in dues]
        return [delivery for delivery in found if delivery is not None]


def _memory() -> int:
    """Return this process's resident bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@cache
def _version() -> str:
    try:
        return version("yadtq")
    except PackageNotFoundError:
        return "?"

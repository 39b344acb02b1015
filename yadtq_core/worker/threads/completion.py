"""Drives completion: hears the children, writes what has ended in batches, hands back what a dead child held."""

from __future__ import annotations

import logging
import time

from yadtq_core.errors import YadtqError
from yadtq_core.model import Lease, Outcome, ReleaseReason
from yadtq_core.worker.desk import Desk
from yadtq_core.worker.rules.completion import Finished
from yadtq_core.worker.values import Death, News

log = logging.getLogger("yadtq.worker")

IDLE_SECONDS = 0.5
GATHER_SECONDS = 0.004
GATHER_STEP_SECONDS = 0.002


class CompletionThread:
    """The loop of completion; `run` returns when the worker has finished and everything is written."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self) -> None:
        """Write outcomes until the worker has finished."""
        desk = self._desk
        while not desk.finished.is_set() or desk.completion.pending:
            now = desk.alive["completion"] = time.monotonic()
            self._heard(desk.executor.read(desk.completion.wait(now, IDLE_SECONDS)))
            self._gather()
            self._write()

    def _gather(self) -> None:
        """Wait a moment for more to write with it, where more is under way: a script call costs as much as ten tasks.

        Where nothing else runs what has ended is written at once, so that an idle worker answers without delay.
        """
        desk = self._desk
        until = time.monotonic() + GATHER_SECONDS
        while desk.completion.few() and desk.executor.running and time.monotonic() < until:
            desk.finished.wait(GATHER_STEP_SECONDS)
            self._heard(desk.executor.read(0.0))

    def _heard(self, news: News) -> None:
        desk = self._desk
        if news.ended:
            desk.completion.ended(news.ended)
            with desk.lock:
                desk.intake.stopped([lease.id for lease, _ in news.ended], time.monotonic())
                desk.room.notify()
            if desk.hungry and desk.executor.free:
                desk.sweep_soon()
            if desk.progress:
                for lease, _ in news.ended:
                    desk.progress.pop(lease.id, None)
        for task_id, text in news.progress:
            desk.progress[task_id] = text
        for death in news.deaths:
            self._hand_back(death)
        if news.ready:
            desk.sweep_soon()

    def _hand_back(self, death: Death) -> None:
        """What a dead child had begun counts as lost; what it had not begun goes to another child."""
        desk = self._desk
        for lease in death.begun:
            desk.progress.pop(lease.id, None)
        stopped_by_us = desk.killed.is_set()
        reason = ReleaseReason.HANDED_BACK if stopped_by_us else ReleaseReason.CHILD_DIED
        note = "handed back: its worker was told to stop" if stopped_by_us else death.cause
        desk.release(death.begun, reason, note=note, lost=not stopped_by_us)
        if death.unbegun and not desk.executor.give(death.unbegun):
            desk.give_back(death.unbegun)
        desk.sweep_soon()

    def _write(self) -> None:
        desk = self._desk
        batch = desk.completion.next_batch(time.monotonic())
        if not batch:
            return
        try:
            codes = desk.backend.finish([outcome for _, outcome in batch], desk.identity)
        except YadtqError as error:
            desk.health.backend_failed(error)
            desk.completion.unanswered(time.monotonic())
            return
        self._written(desk.completion.answered(batch, codes))

    def _written(self, finished: Finished) -> None:
        desk = self._desk
        desk.executed += len(finished.accepted)
        desk.events.finished(finished.accepted)
        with desk.lock:
            for lease in finished.settled:
                desk.intake.settled(lease.delivery)
            desk.intake.put_back([lease.delivery for lease in finished.again], time.monotonic())
        if finished.again:
            _log_refused(finished.again)
        if log.isEnabledFor(logging.DEBUG):
            _log_outcomes(finished.accepted)


def _log_refused(leases: list[Lease]) -> None:
    ids = ", ".join(lease.id for lease in leases[:5])
    log.warning("%d late outcome(s) refused, another run has the record now: %s", len(leases), ids)


def _log_outcomes(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        log.debug("task %s %s: %s in %.3f s", outcome.task, outcome.id, outcome.status, outcome.duration)

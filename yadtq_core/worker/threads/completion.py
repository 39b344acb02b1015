"""The completion thread: reads reports of the children, writes outcomes in batches, requeues runs of dead children."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from yadtq_core.child.pipe import Done
from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Lease, Outcome, ReleaseReason, WorkerIdentity
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import ChildEvents, Death, Executor
from yadtq_core.worker.requeue import Requeue
from yadtq_core.worker.rules.completion import Completion, Finished
from yadtq_core.worker.shared import GuardedIntake, Lifecycle, Outages, SweepTimer, ThreadLoop

log = logging.getLogger("yadtq.worker")

IDLE_SECONDS = 0.5
GATHER_SECONDS = 0.004
GATHER_STEP_SECONDS = 0.002


@dataclass(eq=False)
class CompletionThread(ThreadLoop):
    """The loop of completion; `run` returns when the worker has finished and every outcome is written."""

    backend: Backend
    identity: WorkerIdentity
    completion: Completion
    executor: Executor
    intake: GuardedIntake
    requeue: Requeue
    sweeps: SweepTimer
    events: Events
    outages: Outages
    lifecycle: Lifecycle

    def run(self) -> None:
        """Write outcomes until the worker has finished."""
        while not self.lifecycle.finished.is_set() or self.completion.pending:
            self.looped_at = time.monotonic()
            self._read(self.completion.wait(self.looped_at, IDLE_SECONDS))
            self._gather()
            self._write()

    def _read(self, timeout: float) -> None:
        """Read reports, unless the outcomes that wait for the backend use up their budget.

        Then results stay in the pipes, and the children wait. A worker that stops starts nothing new, so its reports
        are few, and the deaths of killed children are among them.
        """
        if self.completion.full() and not self.lifecycle.stopping.is_set():
            self.lifecycle.stopping.wait(timeout)
        else:
            self._heard(self.executor.read(timeout))

    def _gather(self) -> None:
        """Wait up to 4 ms for more outcomes while other runs go on: one script call costs as much as ten tasks.

        When nothing else runs the outcomes are written at once, so that an idle worker answers without delay.
        """
        until = time.monotonic() + GATHER_SECONDS
        while self.completion.few() and self.executor.running and time.monotonic() < until:
            self.lifecycle.finished.wait(GATHER_STEP_SECONDS)
            self._heard(self.executor.read(0.0))

    def _heard(self, heard: ChildEvents) -> None:
        self.completion.progress.update(heard.progress)  # first: a run may have ended after its report
        if ended := self._own_ends(heard.ended):
            self.completion.ended(ended)
            with self.intake as intake:
                intake.stopped([lease.id for lease, _ in ended], time.monotonic())
                self.intake.notify()
        self.requeue.leave(heard.unable, wait=True)
        for death in heard.deaths:
            self._requeue(death)
        if heard.ready:
            self.sweeps.request()

    def _own_ends(self, ended: Sequence[tuple[Lease, Done]]) -> Sequence[tuple[Lease, Done]]:
        """Return the runs that have ended by themselves; requeue those that the stop of this worker has interrupted."""
        if not self.lifecycle.stopping.is_set():
            return ended
        interrupted = [lease for lease, done in ended if done.interrupted]
        self.completion.forget_progress(interrupted)
        self.requeue.stopped(interrupted)
        return [(lease, done) for lease, done in ended if not done.interrupted]

    def _requeue(self, death: Death) -> None:
        """Requeue the tasks that a dead child had begun, as lost; give those that it had not begun to another child.

        In a worker that stops no run counts as lost: the worker or its service manager has killed the child.
        """
        self.completion.forget_progress(death.begun)
        if self.lifecycle.stopping.is_set():
            self.requeue.stopped(death.begun)
        else:
            self.requeue.release(death.begun, ReleaseReason.CHILD_DIED, note=death.cause, lost=True)
        if death.unbegun and not self.executor.give(death.unbegun):
            self.requeue.unstarted(death.unbegun)
        self.sweeps.request()

    def _write(self) -> None:
        batch = self.completion.next_batch(time.monotonic())
        if not batch:
            return
        try:
            codes = self.backend.finish([outcome for _, outcome in batch], self.identity)
        except YadtqError as error:
            self.outages.failed("backend", error)
            self.completion.unanswered(time.monotonic())
            return
        self._written(self.completion.answered(batch, codes))

    def _written(self, finished: Finished) -> None:
        self.events.finished(finished.accepted)
        with self.intake as intake:
            for lease in finished.settled:
                intake.settled(lease.delivery)
            intake.put_back([lease.delivery for lease in finished.again])
        _log_refused(finished)
        if log.isEnabledFor(logging.DEBUG):
            _log_outcomes(finished.accepted)


def _log_refused(finished: Finished) -> None:
    if fenced := finished.fenced:
        text = "late outcome refused for %d task(s): another run has the record, or it was ended or requeued: %s"
        log.warning(text, len(fenced), _ids(fenced))
    if missing := finished.missing:
        text = "outcome refused for %d task(s): the record is gone, claiming the message again: %s"
        log.warning(text, len(missing), _ids(missing))


def _ids(leases: list[Lease]) -> str:
    return ", ".join(lease.id for lease in leases[:5])


def _log_outcomes(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        log.debug("task %s %s: %s in %.3f s", outcome.task, outcome.id, outcome.status, outcome.duration)

"""The hooks: a worker logs at its end how many pictures it has measured."""

import logging
from collections import Counter
from collections.abc import Sequence

from yadtq_core.plugin import Outcome, Status, hookimpl

log = logging.getLogger("acme_images")


class Tally:
    """The counts of one worker: the entry point names the class, so each worker makes an object."""

    def __init__(self) -> None:
        self._ended: Counter[Status] = Counter()

    @hookimpl
    def yadtq_tasks_finished(self, outcomes: Sequence[Outcome]) -> None:
        """Count this package's tasks; a run with a retry has the status `scheduled`."""
        self._ended.update(outcome.status for outcome in outcomes if outcome.task.startswith("acme_images."))

    @hookimpl
    def yadtq_worker_stopped(self) -> None:
        """Log the counts."""
        log.info("pictures measured: %d, failed: %d", self._ended[Status.SUCCESS], self._ended[Status.FAILED])

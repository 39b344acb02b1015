"""The hooks: a worker says at its end how many pictures it has measured."""

import logging
from collections import Counter
from collections.abc import Sequence

from yadtq_core import Status, hookimpl
from yadtq_core.interfaces import Outcome

log = logging.getLogger("acme_images")


class Tally:
    """One for each worker, as the entry point names the class."""

    def __init__(self) -> None:
        self._ended: Counter[Status] = Counter()

    @hookimpl
    def yadtq_tasks_finished(self, outcomes: Sequence[Outcome]) -> None:
        """Count what is ours; runs that will be repeated have not ended."""
        self._ended.update(outcome.status for outcome in outcomes if outcome.task.startswith("acme_images."))

    @hookimpl
    def yadtq_worker_stopped(self) -> None:
        """Say it."""
        log.info("pictures measured: %d, failed: %d", self._ended[Status.SUCCESS], self._ended[Status.FAILED])

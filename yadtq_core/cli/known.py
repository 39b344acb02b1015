"""The known tasks: those installed or imported here, and those of online workers."""

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

from yadtq_core.model import WorkerRow, check_task_name
from yadtq_core.plugin.registry import Registry, unknown_task
from yadtq_core.tasks.task import Task


class KnownTasks:
    """The known tasks for one command. Asks the workers once, when a task is not known here.

    unchecked: accept every name.
    """

    def __init__(
        self, registry: Registry, workers: Callable[[], Sequence[WorkerRow]], *, unchecked: bool = False
    ) -> None:
        self._registry = registry
        self._workers = workers
        self._unchecked = unchecked
        self._elsewhere: set[str] | None = None
        self._passed: set[str] = set()

    def here(self, name: str) -> Task[..., Any] | None:
        """Import and return the task if it is known here, else None. Raises InvalidTask, TaskLoadError.

        Output of the import goes to stderr: stdout belongs to the command.
        """
        check_task_name(name)
        with redirect_stdout(sys.stderr):
            return self._registry.get(name) if self._registry.known(name) else None

    def check(self, name: str) -> None:
        """Raise UnknownTask if neither this process nor an online worker knows the task."""
        if self._unchecked or name in self._passed:
            return
        if self.here(name) is None:
            if self._elsewhere is None:
                self._elsewhere = {task for row in self._workers() if row.online for task in row.stats.tasks}
            if name not in self._elsewhere:
                known = sorted({*self._registry.names(), *self._elsewhere})
                raise unknown_task(name, known, " (--unchecked submits it anyway)")
        self._passed.add(name)

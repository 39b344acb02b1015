"""When the backend is asked about a waiting ID again: first soon, then ever more rarely, and at once after a reconnect.

The store pushes the end of a task, but a push can be lost without a sign: a record that was rebuilt after a loss has no
channel, and a record keeps the last four channels only. So the questions never stop. Each pause is twice as long as the
one before: a lost push makes a wait at most about twice as long, until LONGEST is reached.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import islice

FIRST = 5.0
"""Seconds after the first question; so an ID that ends within them, as most do, is asked about once."""
LONGEST = 320.0
"""Longest pause in seconds: 50,000 waiting calls then ask 160 times a second. 10,000 a second took 13 % of a core."""
SPREAD = 0.25
"""Each client makes its pauses longer or shorter by up to this part: clients that began together drift apart."""


class _Step:
    """The IDs of one pause, in the order in which they are due."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.due: dict[str, float] = {}


class Again:
    """The IDs of one client with the time of their next question. Not safe for use by several threads."""

    def __init__(self) -> None:
        factor = random.uniform(1 - SPREAD, 1 + SPREAD)
        self._steps: list[_Step] = []
        pause = FIRST
        while pause <= LONGEST:
            self._steps.append(_Step(pause * factor))
            pause *= 2
        self._now: dict[str, None] = {}

    def add(self, task_id: str, now: float) -> None:
        """Ask about this ID again after the first pause, unless it has a time already; `now` is in seconds."""
        if not any(task_id in step.due for step in self._steps):
            first = self._steps[0]
            first.due[task_id] = now + first.pause

    def at_once(self, ids: Iterable[str]) -> None:
        """Ask about these IDs now, whenever else they are due."""
        self._now.update(dict.fromkeys(ids))

    def drop(self, task_id: str) -> None:
        """Ask about this ID no more."""
        self._now.pop(task_id, None)
        for step in self._steps:
            step.due.pop(task_id, None)

    def due(self, now: float, most: int) -> list[str]:
        """Return up to `most` IDs to ask about now. Each is due again after its next pause."""
        found = list(islice(self._now, most))
        for task_id in found:
            del self._now[task_id]
        for number, step in enumerate(self._steps):
            following = self._steps[min(number + 1, len(self._steps) - 1)]
            while step.due and len(found) < most:
                task_id, at = next(iter(step.due.items()))
                if at > now:
                    break
                del step.due[task_id]
                following.due[task_id] = now + following.pause
                found.append(task_id)
        return found

    def left(self, now: float) -> float | None:
        """Return the seconds until an ID is due, 0 if one is; None if there is no ID."""
        if self._now:
            return 0.0
        firsts = [next(iter(step.due.values())) for step in self._steps if step.due]
        return max(0.0, min(firsts) - now) if firsts else None

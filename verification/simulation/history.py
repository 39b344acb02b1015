"""What happened, line by line, and what broke a rule."""

from __future__ import annotations

import hashlib

from verification.simulation.strands import Loom


class Violation(AssertionError):
    """A rule was broken; the history ends there."""


class History:
    """The lines of one history. A line is (seconds, who, what)."""

    def __init__(self, loom: Loom) -> None:
        self._loom = loom
        self.lines: list[tuple[float, str, str]] = []

    @property
    def now(self) -> float:
        """The time of the history, in seconds."""
        return self._loom.now

    def tell(self, who: str, what: str) -> None:
        """Note an action of a process, or an event that it met."""
        self.lines.append((self._loom.now, who, what))

    def violated(self, rule: str, what: str) -> Violation:
        """Note a broken rule; return what is to be raised."""
        self.tell("RULE", f"{rule} broken: {what}")
        violation = Violation(f"{rule}: {what}")
        self._loom.fail(violation)  # production code may catch what is raised: its threads report bugs and stop
        return violation

    def digest(self) -> str:
        """Return what is equal for equal histories only."""
        return hashlib.sha256(repr(self.lines).encode()).hexdigest()[:16]

    def text(self) -> str:
        """Return the history to be read."""
        return "\n".join(f"{at:9.4f}  {who:<16} {what}" for at, who, what in self.lines)


def short(task_id: str) -> str:
    """Return an ID as histories show it: the number that `plan.task_id` put into it."""
    return "t" + task_id[-3:]

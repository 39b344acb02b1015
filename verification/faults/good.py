"""A small history in which all is well, of tasks that have different fates: what tests of the checker spoil.

Redis's clock is the history's own, in milliseconds. Each task is a story told in order; `tell` mixes none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from verification.faults import history as h
from verification.faults.view import Rules

RULES = Rules(lease=3.0, gap=20.0, restart=6.0, memory=300_000_000, handover=2.0)
PLAIN, RETRIED, KILLED, CANCELLED, FAILED, REFUSED, UNKNOWN, HANDED = (
    f"00000000-0000-4000-8000-0000000000{number:02x}" for number in range(8)
)
WIDTH = 0.002
"""Seconds that every call takes."""


class Teller:
    """Writes events with times that rise."""

    def __init__(self) -> None:
        self.events: list[h.Known] = []
        self.at = 100.0
        self.messages: list[h.Stored] = []

    def span(self, seconds: float = 0.01) -> tuple[float, float]:
        """Return the times of the next event, `seconds` later."""
        self.at = round(self.at + seconds, 6)
        return self.at, round(self.at + WIDTH, 6)

    def tell(self, event: h.Known) -> None:
        """Add an event."""
        self.events.append(event)

    def fence(self) -> int:
        """Return the fence of the next claim."""
        return round((self.at + 0.01 + WIDTH / 2) * 1e6)

    def submit(self, task_id: str, task: str, arguments: Sequence[float], outcome: str = "ok") -> None:
        """A client submits."""
        b, a = self.span()
        self.tell(h.Submit("client", b, b, task_id, task, list(arguments)))
        if outcome != "fail":
            self.tell(h.Created("client", b, a, [h.Create(task_id, f"d-{task_id[-2:]}", "new")]))
        if outcome == "ok":
            self.publish("client", task_id)
        self.tell(h.Submitted("client", b, round(self.at + WIDTH, 6), task_id, outcome))

    def publish(self, who: str, task_id: str) -> None:
        """Somebody publishes."""
        b, a = self.span()
        self.messages.append(h.Stored("default", 0, len(self.messages), task_id))
        self.tell(h.Published(who, b, a, [(task_id, f"0:{len(self.messages) - 1}")]))

    def claim(self, worker: str, task_id: str, attempt: int, lost: int = 0, *, later: float = 0.0) -> int:
        """A worker claims; return the fence."""
        self.at += later
        fence = self.fence()
        b, a = self.span()
        claim = h.Claim(task_id, "run", fence, attempt, 0, lost, fence // 1000)
        self.tell(h.Claimed(worker, b, a, f"n{fence}", [claim]))
        return fence

    def answered(self, worker: str, task_id: str, verdict: str) -> None:
        """A worker claims, and is given no lease."""
        b, a = self.span()
        self.tell(h.Claimed(worker, b, a, f"n{b}", [h.Claim(task_id, verdict, 0, 1, 0, 0, 0)]))

    def start(self, worker: str, task_id: str, attempt: int, fence: int) -> None:
        """A run begins."""
        b, _ = self.span()
        self.tell(h.Started(f"{worker} child", b, b, task_id, attempt, fence, worker))

    def extend(self, worker: str, task_id: str, fence: int) -> None:
        """A worker extends a lease."""
        b, a = self.span()
        self.tell(h.Extended(worker, b, a, [h.Code(task_id, fence, "ok")]))

    def finish(self, worker: str, task_id: str, fence: int, status: str, code: str = "ok") -> None:
        """A worker writes how a run ended."""
        b, a = self.span()
        self.tell(h.Asked(worker, b, b, [(task_id, fence, status)]))
        self.tell(h.Finished(worker, b, a, [h.Code(task_id, fence, code, status)]))

    def freeze(
        self, rows: dict[str, h.RecordRow], open_: Sequence[str], counts: dict[str, int], *, final: bool
    ) -> None:
        """The harness looks at the whole store."""
        b, a = self.span()
        self.tell(h.Freeze("harness", b, a, b * 1000, rows, {task_id: ["open"] for task_id in open_}, counts, final))


def row(
    task_id: str, task: str, status: str, fence: int, attempt: int, *, result: str = "", error: str = ""
) -> h.RecordRow:
    """Return a record."""
    return h.RecordRow(status, fence, attempt, 0, task, f"d-{task_id[-2:]}", result, error)


def good() -> list[h.Known]:
    """Return the history."""
    t = Teller()
    b, a = t.span()
    t.tell(h.Clock("harness", b, a, (b + a) / 2 * 1000))
    rows: dict[str, h.RecordRow] = {}
    _plain_and_retried(t, rows)
    _killed(t, rows)
    _cancelled_and_failed(t, rows)
    t.submit(REFUSED, "faults.add", [1], "fail")
    t.submit(UNKNOWN, "faults.add", [1], "info")
    rows[UNKNOWN] = row(UNKNOWN, "faults.add", "queued", 0, 0)
    _freeze(t, rows, [UNKNOWN], final=False)
    t.publish("w2", UNKNOWN)
    fence = t.claim("w2", UNKNOWN, 1)
    t.start("w2", UNKNOWN, 1, fence)
    t.finish("w2", UNKNOWN, fence, "success")
    rows[UNKNOWN] = row(UNKNOWN, "faults.add", "success", fence, 1, result="1")
    _handed(t, rows)
    b, a = t.span()
    t.tell(h.Committing("w2", b, b, [h.Offset("default", 0, len(t.messages))]))
    t.tell(h.Group("harness", b, a, [h.Offset("default", 0, len(t.messages))]))
    t.tell(h.Topic("harness", b, a, t.messages, [FAILED], [h.Offset("default", 0, len(t.messages))]))
    t.tell(h.Memory("harness", b, a, "w2", 80_000_000))
    _freeze(t, rows, [], final=True)
    return t.events


def _plain_and_retried(t: Teller, rows: dict[str, h.RecordRow]) -> None:
    t.submit(PLAIN, "faults.effect", [0.1, 3])
    fence = t.claim("w2", PLAIN, 1)
    t.start("w2", PLAIN, 1, fence)
    b, a = t.span()
    t.tell(h.Effect("w2 child", b, a, PLAIN, fence, taken=True))
    t.finish("w2", PLAIN, fence, "success")
    rows[PLAIN] = row(PLAIN, "faults.effect", "success", fence, 1, result="9")
    t.submit(RETRIED, "faults.flaky", [1, 5])
    first = t.claim("w2", RETRIED, 1)
    t.start("w2", RETRIED, 1, first)
    t.finish("w2", RETRIED, first, "scheduled")
    t.answered("w2", RETRIED, "later")
    rows[RETRIED] = row(RETRIED, "faults.flaky", "scheduled", first, 1)
    _freeze(t, rows, [RETRIED], final=False)
    second = t.claim("w2", RETRIED, 2, later=0.3)
    t.start("w2", RETRIED, 2, second)
    t.finish("w2", RETRIED, second, "success")
    rows[RETRIED] = row(RETRIED, "faults.flaky", "success", second, 2, result="[1,5]")


def _killed(t: Teller, rows: dict[str, h.RecordRow]) -> None:
    t.submit(KILLED, "faults.square", [1, 4])
    first = t.claim("w1", KILLED, 1)
    t.start("w1", KILLED, 1, first)
    t.extend("w1", KILLED, first)
    b, a = t.span()
    t.tell(h.Fault("harness", b, a, "killed", ("w1",), since="b"))
    t.answered("w2", KILLED, "busy")
    b, a = t.span(3.5)
    t.tell(h.Swept("w2", b, a, b * 1000, [(KILLED, "queued", True)]))
    second = t.claim("w2", KILLED, 2, 1)
    t.start("w2", KILLED, 2, second)
    t.span(0.2)
    t.finish("w1", KILLED, first, "success", "fenced")
    t.finish("w2", KILLED, second, "success")
    rows[KILLED] = h.RecordRow("success", second, 2, 1, "faults.square", f"d-{KILLED[-2:]}", "16")


def _cancelled_and_failed(t: Teller, rows: dict[str, h.RecordRow]) -> None:
    t.submit(CANCELLED, "faults.add", [1, 2])
    b, a = t.span()
    t.tell(h.Cancelled("client", b, a, [(CANCELLED, "cancelled")]))
    t.answered("w2", CANCELLED, "done")
    rows[CANCELLED] = row(CANCELLED, "faults.add", "cancelled", 1, 0)
    t.submit(FAILED, "faults.hopeless", [1])
    fence = t.claim("w2", FAILED, 1)
    t.start("w2", FAILED, 1, fence)
    t.finish("w2", FAILED, fence, "failed")
    rows[FAILED] = row(FAILED, "faults.hopeless", "failed", fence, 1, error="{}")
    _freeze(t, rows, [FAILED], final=False)
    b, a = t.span()
    t.tell(h.Published("w2", b, a, [(FAILED, "0:0")], dead=True))


def _handed(t: Teller, rows: dict[str, h.RecordRow]) -> None:
    t.submit(HANDED, "faults.square", [1, 6])
    first = t.claim("w3", HANDED, 1)
    t.start("w3", HANDED, 1, first)
    b, a = t.span()
    t.tell(h.Asked("w3", b, b, [(HANDED, first, "handed_back")]))
    t.tell(h.Released("w3", b, a, [h.Code(HANDED, first, "ok", "handed_back")]))
    t.tell(h.Exited("harness", b, a, "w3", 0))
    second = t.claim("w2", HANDED, 2)
    t.start("w2", HANDED, 2, second)
    t.finish("w2", HANDED, second, "success")
    rows[HANDED] = row(HANDED, "faults.square", "success", second, 2, result="36")


def _freeze(t: Teller, rows: dict[str, h.RecordRow], open_: Sequence[str], *, final: bool) -> None:
    counts: dict[str, int] = {}
    for one in rows.values():
        name = f":{one.status}" if one.status in ("success", "failed", "cancelled") else f"default:{one.status}"
        counts[name] = counts.get(name, 0) + 1
    t.freeze(dict(rows), open_, counts, final=final)

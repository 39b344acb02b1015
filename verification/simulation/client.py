"""The client's process: the production submitter, told what to submit and when; a new one goes on where one died."""

from __future__ import annotations

from typing import NamedTuple

from verification.simulation.history import short
from verification.simulation.plan import TaskPlan
from verification.simulation.strands import SimulatedProcess
from verification.simulation.world import World
from yadtq_core.client.background import Confirmer
from yadtq_core.client.submitter import Submitter
from yadtq_core.errors import OutcomeUnknown, YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Submission
from yadtq_core.wire import envelope

TOGETHER_SECONDS = 0.3
"""Submits due within this time (seconds) go in one batch."""
SUBMIT_SECONDS = 1.5


class Action(NamedTuple):
    """Something that the client does: `submit`, `other` (the same ID with other arguments), `cancel`."""

    at: float
    kind: str
    plan: TaskPlan


class SimulatedClient:
    """All that the clients of one history do, in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        actions = []
        for plan in world.plan.tasks:
            actions.append(Action(plan.at, "submit", plan))
            for at, kind in ((plan.again_at, "submit"), (plan.other_at, "other"), (plan.cancelled_at, "cancel")):
                if at is not None:
                    actions.append(Action(at, kind, plan))
        self._actions = sorted(actions)
        self.process: SimulatedProcess | None = None
        self.done = False

    def start(self) -> None:
        """Begin a client's life, unless one goes on or nothing is left to do."""
        if self.done or (self.process is not None and not self.process.dead):
            return
        process, _ = self._world.process("client")
        self.process = process
        self._world.loom.spawn(process, "main", lambda: self._main(process))

    def _main(self, process: SimulatedProcess) -> None:
        world = self._world
        backend, broker = world.backend(process), world.broker(process)
        confirmer = Confirmer(backend)
        submitter = Submitter(
            backend,
            lambda: broker,
            confirmer,
            reached=lambda: None,
            timeout=SUBMIT_SECONDS,
            shards=world.plan.shards,
            confirm="record" if world.plan.confirm == "record" else "broker",
        )
        while self._actions:
            world.loom.wait(self._actions[0].at - world.loom.now)
            action = self._actions.pop(0)
            if action.kind == "cancel":
                self._cancel(backend, action.plan)
            else:
                self._submit(submitter, [action, *self._more(action)])
        confirmer.close(5.0)
        self.done = True
        world.history.tell("client", "has done all")
        process.kill()

    def _more(self, first: Action) -> list[Action]:
        """Take the submits that go with this one: each ID once."""
        more: list[Action] = []
        while self._actions:
            action = self._actions[0]
            if action.at > first.at + TOGETHER_SECONDS or action.kind == "cancel":
                break
            if action.plan.id in {first.plan.id, *(each.plan.id for each in more)}:
                break
            more.append(self._actions.pop(0))
        return more

    def _submit(self, submitter: Submitter, actions: list[Action]) -> None:
        world = self._world
        submissions, keys = [], []
        for action in actions:
            message = world.message(action.plan, other=action.kind == "other")
            submissions.append(Submission(message, envelope.encode(message), action.plan.delay))
            keys.append((message.id, message.digest))
            world.asked[keys[-1]] += 1
        for key, verdict in zip(keys, submitter.finish(submitter.start(submissions)), strict=True):
            told = _told(verdict)
            world.answers[key].append(told)
            world.history.tell("client", f"submit {short(key[0])} {key[1][:6]}: {told}")
            if told == "ok" and world.plan.confirm == "broker" and not world.in_the_broker(key[0]):
                raise world.history.violated("I1", f"{short(key[0])} is accepted, and the broker has not got it")

    def _cancel(self, backend: Backend, plan: TaskPlan) -> None:
        world = self._world
        world.cancelled.add(plan.id)
        try:
            code = backend.cancel([plan.id], "no longer wanted")[0]
        except YadtqError as error:
            world.history.tell("client", f"cancel {short(plan.id)}: {error}")
        else:
            world.history.tell("client", f"cancel {short(plan.id)}: {code}")


def _told(verdict: YadtqError | None) -> str:
    if verdict is None:
        return "ok"
    return "unknown" if isinstance(verdict, OutcomeUnknown) else "refused"

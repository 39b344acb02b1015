"""Builds the parts of one worker and gives each of them, by name, what it uses.

thread      calls                            decides by                     owns
intake      broker; backend: claim, offer    rules/intake, rules/partition  the consumer (GroupMember), a Claimer
completion  children; backend: finish        rules/completion               the reports of the children
keeper      backend: heartbeat, extend       rules/keeper                   the epochs of the last heartbeat
sweeper     broker; backend: sweep, claim    rules/keeper                   a Claimer, unreadable messages
main        children: start, replace, kill   supervisor                     signals, the watchdog, the shutdown
listeners   hooks of plugins                 events                         the batches of events that wait

The threads share: `GuardedIntake`, the intake rules behind the worker's lock; `Completion`, which the completion thread
changes and others read; `Keeper`, whose timers any thread may move; `Executor`, `Events`, `Requeue`, `UnreadableQueue`,
which are safe for all threads; `Peers` and `Outages`, where the last writer wins; `SweepTimer` and `Lifecycle`, events
to set and to wait for.
"""

from __future__ import annotations

import time

from yadtq_core.interfaces import Backend, Broker
from yadtq_core.model import WorkerIdentity
from yadtq_core.settings import Settings
from yadtq_core.worker.claimer import Claimer
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.guarded_intake import GuardedIntake
from yadtq_core.worker.lifecycle import Lifecycle
from yadtq_core.worker.outages import Outages
from yadtq_core.worker.peers import Peers
from yadtq_core.worker.requeue import Requeue
from yadtq_core.worker.rules.completion import Completion
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.rules.keeper import Keeper
from yadtq_core.worker.sweep_timer import SweepTimer
from yadtq_core.worker.threads.completion import CompletionThread
from yadtq_core.worker.threads.group_member import GroupMember
from yadtq_core.worker.threads.intake import IntakeThread
from yadtq_core.worker.threads.keeper import KeeperThread
from yadtq_core.worker.threads.republisher import Republisher
from yadtq_core.worker.threads.requeue_requests import RequeueRequests
from yadtq_core.worker.threads.sweeper import SweeperThread
from yadtq_core.worker.threads.unreadable_sender import UnreadableSender
from yadtq_core.worker.unreadable import UnreadableQueue


class Assembly:
    """The shared parts of one worker, and how each thread is built from them. No part holds the assembly."""

    def __init__(
        self,
        settings: Settings,
        identity: WorkerIdentity,
        broker: Broker,
        backend: Backend,
        *,
        executor: Executor,
        events: Events,
    ) -> None:
        lease = settings.claim_stale_seconds
        self._queues = settings.queues
        self._identity = identity
        self._broker = broker
        self._backend = backend
        self.executor = executor
        self.events = events
        self.intake = GuardedIntake(Intake(margin=2 * lease / 3, replayable=broker.replayable))
        self.completion = Completion(identity)
        self.keeper = Keeper(lease, time.monotonic())
        self.lifecycle = Lifecycle()
        self.sweeps = SweepTimer(self.keeper)
        self._outages = Outages()
        self._peers = Peers(backend, identity, fresh=lease / 3)
        self._unreadable = UnreadableQueue()
        self._progress: dict[str, str] = {}
        self.requeue = Requeue(backend, identity, intake=self.intake, peers=self._peers, outages=self._outages)

    def claimer(self) -> Claimer:
        """Return a claimer for one thread."""
        return Claimer(
            backend=self._backend,
            identity=self._identity,
            intake=self.intake,
            keeper=self.keeper,
            executor=self.executor,
            events=self.events,
            requeue=self.requeue,
            outages=self._outages,
            lifecycle=self.lifecycle,
        )

    def intake_thread(self) -> IntakeThread:
        """Return the loop that polls, claims and commits."""
        member = GroupMember(
            broker=self._broker,
            queues=self._queues,
            identity=self._identity,
            intake=self.intake,
            keeper=self.keeper,
            outages=self._outages,
        )
        requests = RequeueRequests(
            backend=self._backend,
            peers=self._peers,
            intake=self.intake,
            keeper=self.keeper,
            outages=self._outages,
        )
        return IntakeThread(
            member=member,
            intake=self.intake,
            unreadable=self._unreadable,
            claimer=self.claimer(),
            executor=self.executor,
            requeue=self.requeue,
            requests=requests if self._broker.replayable else None,
            lifecycle=self.lifecycle,
        )

    def completion_thread(self) -> CompletionThread:
        """Return the loop that writes outcomes."""
        return CompletionThread(
            backend=self._backend,
            identity=self._identity,
            completion=self.completion,
            executor=self.executor,
            intake=self.intake,
            requeue=self.requeue,
            sweeps=self.sweeps,
            progress=self._progress,
            events=self.events,
            outages=self._outages,
            lifecycle=self.lifecycle,
        )

    def keeper_thread(self) -> KeeperThread:
        """Return the loop that sends heartbeats and extends leases."""
        return KeeperThread(
            backend=self._backend,
            identity=self._identity,
            queues=self._queues,
            keeper=self.keeper,
            executor=self.executor,
            completion=self.completion,
            intake=self.intake,
            progress=self._progress,
            events=self.events,
            outages=self._outages,
            lifecycle=self.lifecycle,
        )

    def sweeper_thread(self) -> SweeperThread:
        """Return the loop that sweeps."""
        republisher = Republisher(broker=self._broker, backend=self._backend, executor=self.executor, peers=self._peers)
        unreadable = UnreadableSender(
            queue=self._unreadable, broker=self._broker, backend=self._backend, intake=self.intake
        )
        return SweeperThread(
            backend=self._backend,
            queues=self._queues,
            executor=self.executor,
            intake=self.intake,
            claimer=self.claimer(),
            sweeps=self.sweeps,
            republisher=republisher,
            unreadable=unreadable,
            events=self.events,
            outages=self._outages,
            lifecycle=self.lifecycle,
        )

"""Builds the parts of one worker and gives each of them what it uses.

thread      mainly calls                     decides by                     owns
intake      broker; backend: claim, take     rules/intake, lanes, partition the consumer (GroupMember), the Claimer
completion  children; backend: finish        rules/completion               the reports of the children
keeper      backend: heartbeat, extend       rules/keeper                   the epochs of the last heartbeat
sweeper     broker; backend: sweep           rules/keeper                   dead letters, unreadable messages
main        children: start, replace, kill   supervisor                     signals, the watchdog, the shutdown
listeners   hooks of plugins                 events                         the batches of events that wait

All of them but listeners also requeue leases (`Requeue`, backend: release).

The threads share: `GuardedIntake`, the intake rules behind the worker's lock; `Completion`, which the completion thread
changes and others read; `Keeper`, whose timers any thread may move; `Executor`, `Events`, `Requeue` and
`UnreadableMessages`, which are safe for all threads; `Peers` and `Outages`, where the last writer wins; `SweepTimer`
and `Lifecycle`, events to set and to wait for.
"""

from __future__ import annotations

import time

from yadtq_core.interfaces import Backend, Broker
from yadtq_core.model import WorkerIdentity
from yadtq_core.settings import Settings
from yadtq_core.worker.claimer import Claimer
from yadtq_core.worker.dead_letters import DeadLetters
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.missed import MissedMessages
from yadtq_core.worker.peers import Peers
from yadtq_core.worker.repeats import Repeats
from yadtq_core.worker.requeue import Requeue
from yadtq_core.worker.rules.completion import Completion
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.rules.keeper import Keeper
from yadtq_core.worker.shared import GuardedIntake, Lifecycle, Outages, SweepTimer
from yadtq_core.worker.threads.completion import CompletionThread
from yadtq_core.worker.threads.group_member import GroupMember
from yadtq_core.worker.threads.intake import IntakeThread
from yadtq_core.worker.threads.keeper import KeeperThread
from yadtq_core.worker.threads.sweeper import SweeperThread
from yadtq_core.worker.unreadable import UnreadableMessages


class Assembly:
    """The parts of one worker. No part holds the assembly.

    Arguments are positional: each part has a type of its own, and mypy refuses a wrong order.
    """

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
        lease, queues = settings.claim_stale_seconds, settings.queues
        self.executor = executor
        self.events = events
        self.intake = intake = GuardedIntake(Intake(margin=2 * lease / 3, replayable=broker.replayable))
        self.completion = completion = Completion(identity)
        self.keeper = keeper = Keeper(lease, time.monotonic())
        self.lifecycle = lifecycle = Lifecycle()
        self.sweeps = sweeps = SweepTimer(keeper)
        outages = Outages()
        peers = Peers(backend, identity)
        unreadable = UnreadableMessages(broker, backend, intake)
        self.requeue = requeue = Requeue(backend, identity, intake, keeper, peers, outages)

        claimer = Claimer(backend, identity, intake, keeper, executor, events, requeue, outages, lifecycle)
        member = GroupMember(broker, queues, identity, intake, keeper, peers, outages)
        missed, repeats = MissedMessages(backend, intake), Repeats(backend, intake, keeper, outages)
        self.intake_thread = IntakeThread(
            backend, member, intake, unreadable, missed, repeats, claimer, executor, requeue, peers, outages, lifecycle
        )
        self.completion_thread = CompletionThread(
            backend, identity, completion, executor, intake, requeue, sweeps, events, outages, lifecycle
        )
        self.keeper_thread = KeeperThread(
            backend, identity, queues, keeper, executor, completion, intake, requeue, events, outages, lifecycle
        )
        dead_letters = DeadLetters(broker, backend)
        self.sweeper_thread = SweeperThread(
            backend, queues, intake, sweeps, dead_letters, unreadable, events, outages, lifecycle
        )

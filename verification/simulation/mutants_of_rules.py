"""Deliberate mistakes in the worker's rules, and in what a client does in which order."""

from __future__ import annotations

from verification.simulation.mutation import Mutant

INTAKE, PROGRESS, WATERMARK = (
    "yadtq_core.worker.rules.intake",
    "yadtq_core.worker.rules.partition",
    "yadtq_core.worker.rules.watermark",
)
CLAIMER, REQUEUE, KEEPER = (
    "yadtq_core.worker.claimer",
    "yadtq_core.worker.requeue",
    "yadtq_core.worker.rules.keeper",
)
GROUP_MEMBER, DEAD_LETTERS, UNREADABLE = (
    "yadtq_core.worker.threads.group_member",
    "yadtq_core.worker.dead_letters",
    "yadtq_core.worker.unreadable",
)
READ_AGAIN = "yadtq_core.worker.rules.read_again"
COMPLETION, COMPLETION_LOOP = "yadtq_core.worker.rules.completion", "yadtq_core.worker.threads.completion"
KEEPER_LOOP, SWEEPER_LOOP = "yadtq_core.worker.threads.keeper", "yadtq_core.worker.threads.sweeper"
INTAKE_LOOP, MISSED, LANES = (
    "yadtq_core.worker.threads.intake",
    "yadtq_core.worker.missed",
    "yadtq_core.worker.rules.lanes",
)
SUBMITTER = "yadtq_core.client.submitter"

RULES = (
    # What is committed
    Mutant("commit past what is not finished", WATERMARK, "return self._order[0] if self._order else self.position", "return self.position"),
    Mutant("one done is all done", WATERMARK, "while order and order[0] not in is_open:", "while order and order[0] <= offset:"),
    Mutant("settled at the claim", INTAKE, "leases.append(Lease(", "self.settled(delivery)\n                leases.append(Lease("),
    Mutant("settled on BUSY", INTAKE, "SETTLED = frozenset({Verdict.DONE,", "SETTLED = frozenset({Verdict.BUSY, Verdict.DONE,"),
    Mutant("busy is settled, not parked", INTAKE, "            elif answer.verdict is Verdict.BUSY:\n                self._park_busy(delivery, answer, now)\n            elif answer.verdict in SETTLED:", "            elif answer.verdict is Verdict.BUSY or answer.verdict in SETTLED:"),
    Mutant("busy is forgotten", INTAKE, "                self._park_busy(delivery, answer, now)\n            elif answer.verdict in SETTLED:\n                self.settled(delivery)\n        return leases", "                pass\n            elif answer.verdict in SETTLED:\n                self.settled(delivery)\n        return leases"),
    Mutant("later is not settled", INTAKE, "Verdict.DONE, Verdict.LATER,", "Verdict.DONE,"),
    Mutant("settled on FENCED", COMPLETION, "finished.fenced.append(lease)", "finished.settled.append(lease)"),
    Mutant("settled on MISSING", COMPLETION, "finished.missing.append(lease)", "finished.settled.append(lease)"),
    Mutant("fenced is forgotten", COMPLETION_LOOP, "intake.put_back([lease.delivery for lease in finished.again])", "pass"),
    Mutant("an outcome that was not answered is dropped", COMPLETION_LOOP, "self.completion.unanswered(time.monotonic())", "self.completion._pending.clear()"),
    Mutant("settled before it is written", COMPLETION_LOOP, "            with self.intake as intake:\n                intake.stopped(", "            with self.intake as intake:\n                for lease, _ in heard.ended:\n                    intake.settled(lease.delivery)\n                intake.stopped("),
    Mutant("released is settled", REQUEUE, "intake.put_back(polled, requeued=True)", "for delivery in polled: intake.settled(delivery)"),
    Mutant("an unknown task's message is kept", REQUEUE, "                for lease in leases:\n                    intake.settled(lease.delivery)", "                pass"),
    Mutant("an unknown task's message is settled unanswered", REQUEUE, "if reason in TO_OTHERS and answered:", "if reason in TO_OTHERS:",
           missed="one history in a thousand shows it, tests/unit/worker/test_requeue.py always"),
    Mutant("an unknown task's message is settled alone", REQUEUE, "            self.backend.release([self._release_of(", "            reason is ReleaseReason.UNKNOWN_TASK or self.backend.release([self._release_of("),
    Mutant("a repeated delivery is dropped", INTAKE, "            self._park(delivery, now + 1.0)", "            pass"),
    # Open offsets in the metadata, and messages that are read again
    Mutant("open offsets are cut from the front", PROGRESS, "naming(self._named, self.safe[0])", "naming(self._named[1:], self.safe[0])"),
    Mutant("what is done is told too early", PROGRESS, 'named = self._open if self._told_end > low else ""', "named = naming(self.watermark.named(MOST_TOLD), self.safe[0])"),
    Mutant("open offsets are believed in another epoch", PROGRESS, "        self._begin(offset, offset, Told())\n        self.epoch = current", "        known = parsed((self.committed or (0, ''))[1]) or CommitMetadata(None, 0)\n        self._begin(offset, offset, Told(known.told.open | set(range(offset, self.watermark.low)), known.told.end))\n        self.epoch = current"),
    Mutant("what is read again counts as ended", READ_AGAIN, "[one for one, over in pairs if over], [one for one, over in pairs if not over]", "asked, []"),
    # Losing the store
    Mutant("no rewind", GROUP_MEMBER, "            rewinds = intake.to_rewind()", "            rewinds = []"),
    Mutant("any epoch is ours", PROGRESS, "return current is None or self.epoch is None or self.epoch.id == current.id", "return True"),
    Mutant("a new epoch is adopted without a rewind", PROGRESS, "        if not self.belongs_to(current):\n            return\n", ""),
    Mutant("local marks are kept over a rewind", PROGRESS, "        self._begin(offset, offset, Told())\n        self.epoch = current", "        self.safe = deque([offset], maxlen=_KEPT)\n        self.epoch = current"),
    Mutant("the committed offset is safe", PROGRESS, "CommitMetadata(self.epoch, self.safe[0], position if position > low else 0, named)", "CommitMetadata(self.epoch, low)"),
    Mutant("rewind to the safe offset alone", GROUP_MEMBER, "offset = rewind.safe if found is None else min(rewind.safe, found)", "offset = rewind.safe"),
    Mutant("rewind by time alone", GROUP_MEMBER, "offset = rewind.safe if found is None else min(rewind.safe, found)", "offset = rewind.safe if found is None else found"),
    Mutant("rewind without a margin", PROGRESS, "- margin_ms)", "+ 0)",
           missed="lost writes are later than the mark, and so are their messages: the margin is for clocks"),
    Mutant("rewind to the newest loss", PROGRESS, "min(lost, default=self.epoch.mark_ms)", "max(lost, default=self.epoch.mark_ms)",
           missed="it takes two losses while no member has the partition; tests/unit/worker/rules/test_partition.py finds it"),
    Mutant("metadata is not looked at", PROGRESS, "parsed(metadata) or CommitMetadata(current, start)", "CommitMetadata(current, start)"),
    Mutant("a gained partition starts at once", GROUP_MEMBER, "intake.gained(partition, *committed.get(partition, (None, \"\")))", "intake.gained(partition, None)"),
    # Partitions that come and go
    Mutant("a lost partition is kept", INTAKE, "        self._partitions.pop(partition, None)\n        self._queues = sorted({each.queue for each in self._partitions})\n        self._drop(partition)", "        pass",
           missed="the consumer commits only what is its, and a partition that comes back begins anew"),
    Mutant("waiting messages of a lost partition are kept", INTAKE, "        self._partitions.pop(partition, None)\n        self._queues = sorted({each.queue for each in self._partitions})\n        self._drop(partition)", "        self._partitions.pop(partition, None)\n        self._queues = sorted({each.queue for each in self._partitions})",
           missed="each is claimed before it runs, as every message is, and its offset is not settled"),
    # Claims, leases, heartbeats
    Mutant("a new nonce for the same claim", CLAIMER, "deliveries, nonce = self._unanswered or (list(batch), secrets.token_urlsafe(9))", "deliveries, nonce = (self._unanswered or (list(batch), ''))[0], secrets.token_urlsafe(9)",
           missed="the lease of a reply that was lost is waited for; it costs time and counts as lost"),
    Mutant("one nonce for all", CLAIMER, "secrets.token_urlsafe(9))", "'always')"),
    Mutant("a claim that was not answered is dropped", CLAIMER, "            self.outages.failed(\"backend\", error)\n            return False\n        self._unanswered = None", "            self._unanswered = None\n            return False\n        self._unanswered = None"),
    Mutant("leases are not extended", KEEPER_LOOP, "codes = self.backend.extend(holds, self.identity)", "return"),
    Mutant("a running task is claimed again", INTAKE, "if task_id not in batch and task_id not in self._running:", "if task_id not in batch:",
           missed="the claim answers BUSY"),
    Mutant("claims without a heartbeat", KEEPER, "return self._begun and now - self._answered_at < self._lease / 2", "return True",
           missed="a claim that arrives is answered by the store, even after a silence"),
    Mutant("a silence makes tasks stale", KEEPER, "self._nothing_stale_until = now + self._lease", "pass",
           missed="leases that ended in the silence are taken over: repeats, which the fences bear"),
    Mutant("never leaves the group", KEEPER, "return now - self._answered_at >= self._lease", "return False",
           missed="others have its partitions when it dies or comes back: nothing is lost, it only takes longer"),
    Mutant("a job begins after its lease is lost", KEEPER_LOOP, "unbegun = self.executor.drop(lost)", "unbegun: list[Lease] = []"),
    Mutant("runs that end with their worker count as lost", COMPLETION_LOOP, "if self.lifecycle.stopping.is_set():\n            self.requeue.stopped(", "if False:\n            self.requeue.stopped("),
    # Sweeps and dead letters
    Mutant("nothing is swept", SWEEPER_LOOP, "            self._attempt(self._sweep)\n", "            pass\n"),
    Mutant("ready records are not taken", INTAKE_LOOP, "taken = self._take(share.ready) if share.ready else ()", "taken = ()"),
    Mutant("what was passed in the log is not asked about", MISSED, "in self._passed.ranges(lows, now).items():", "in {}.items():"),
    Mutant("asked about what still waits here", INTAKE, "lows[partition] = progress.watermark.position if waiting is None else waiting", "lows[partition] = progress.watermark.position",
           missed="a false alarm: the task runs from its record, and its message is answered DONE"),
    Mutant("ready records never have their turn", LANES, "from_store = bool(ready) and (lane.ready_first or not polled)", "from_store = bool(ready) and not polled",
           missed="they begin late, when nothing else waits; tests/unit/worker/rules/test_lanes.py finds it"),
    Mutant("dead letters are never marked as published", DEAD_LETTERS, "        self.backend.buried([*buried, *without])", "        pass"),
    Mutant("a dead letter counts as published before the broker has it", DEAD_LETTERS, "if positions[index] is not None or index in refused]", "]",
           missed="a letter is missing only if a worker dies before it is sent; tests/unit/worker/threads/test_sweeper.py finds it"),
    Mutant("unreadable ones stay", UNREADABLE, "            intake.done(entry.partition, entry.offset)", "            pass"),
    Mutant("dead letters are published in an outage", DEAD_LETTERS, "            if self.broker.unacknowledged():\n                return\n", "",
           missed="more copies in the log, each recognised; it is a matter of load"),
    # Submit
    Mutant("accepted without an acknowledgement", SUBMITTER, "        positions = publication.wait(batch.left)", "        positions = ['0:0' for _ in ids]"),
    Mutant("published first", SUBMITTER, "            elif answer.status in (Status.QUEUED, Status.PROCESSING) and not answer.published:", "            elif answer.status in (Status.QUEUED, Status.PROCESSING):",
           missed="one more copy in the log, recognised by its ID"),
    Mutant("a running task is not published", SUBMITTER, "            elif answer.status in (Status.QUEUED, Status.PROCESSING) and not answer.published:", "            elif answer.status is Status.QUEUED and not answer.published:"),
    Mutant("a lost reply is a refusal", SUBMITTER, "            batch.unknown(indexes, str(error))\n        return ()", "            batch.refuse(indexes, error)\n        return ()"),
    Mutant("a conflict is accepted", SUBMITTER, "batch.failures[index] = IdConflict(message.id)", "pass"),
)  # fmt: skip

"""Carries out the faults of a plan, and makes everything well again at its end."""

from __future__ import annotations

from collections.abc import Callable

from verification.simulation.client import SimulatedClient
from verification.simulation.history import short
from verification.simulation.log import Entry, name_of
from verification.simulation.plan import ONE_FAULT, PlannedFault, WorkerPlan
from verification.simulation.worker import SimulatedWorker
from verification.simulation.world import World
from yadtq_core.model import shard_of

COPIES = (1, 2, 6)
STOP_SECONDS = 5.0
"""Seconds after which a worker that was asked to stop has stopped."""
LOSSES = ("last second", "lost twice", "flush", "flush and last second")


class Faults:
    """What goes wrong in one history."""

    def __init__(self, world: World, workers: list[SimulatedWorker], client: SimulatedClient) -> None:
        self._world = world
        self._workers = workers
        self._client = client
        self._guests: list[SimulatedWorker] = []
        self._saved = False
        self._runs = 1
        self.over = False

    def schedule(self) -> None:
        """Put all faults of the plan on the clock."""
        loom = self._world.loom
        for fault in self._world.plan.faults:
            loom.at(fault.at, self._call_of(fault))
        loom.at(self._world.plan.ends_at, self._well_again)

    def _call_of(self, fault: PlannedFault) -> Callable[[], None]:
        carry_out = getattr(self, "_" + fault.kind.replace(" ", "_"))

        def call() -> None:
            self._world.history.tell("FAULT", f"{fault.kind} for {fault.seconds:.2f} s")
            carry_out(fault)

        return call

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        """Do something later, unless everything is well by then."""
        self._world.loom.after(seconds, lambda: None if self.over else call())

    def _one_of(self, x: float) -> SimulatedWorker:
        return self._workers[int(x * len(self._workers))]

    # Workers

    def _crash(self, fault: PlannedFault) -> None:
        worker = self._one_of(fault.x)
        if worker.process is not None:
            self._world.history.tell(worker.plan.name, "is killed")
            worker.process.kill()
            self._later(fault.seconds, worker.start)

    def _pause(self, fault: PlannedFault) -> None:
        worker = self._one_of(fault.x)
        process = worker.process
        if process is not None:
            self._world.history.tell(worker.plan.name, "is stopped by a signal")
            process.pause(children=fault.kind == "pause")
            self._later(fault.seconds, process.resume)

    def _pause_parent(self, fault: PlannedFault) -> None:
        self._pause(fault)

    def _child(self, fault: PlannedFault) -> None:
        worker = self._one_of(fault.x)
        if worker.alive and worker.executor is not None:
            worker.executor.child_dies()

    def _zombie(self, fault: PlannedFault) -> None:
        """A worker sleeps through its leases; awake, it loses a child, is asked to stop, or goes on."""
        worker = self._one_of(fault.x)
        process, executor = worker.process, worker.executor
        if process is None or executor is None or not worker.alive:
            return
        process.pause(children=fault.y < 0.4)

        def wakes() -> None:
            process.resume()
            if not process.dead and 0.4 < fault.y < 0.6:
                executor.child_dies()
            elif not process.dead and fault.y >= 0.6:
                worker.stop()
                self._later(2.0, worker.start)

        self._later(self._world.plan.lease * (1.1 + fault.y), wakes)

    def _stop(self, fault: PlannedFault) -> None:
        worker = self._one_of(fault.x)
        worker.stop()
        self._later(fault.seconds + 1.5, worker.start)

    def _join(self, fault: PlannedFault) -> None:
        known = self._one_of(fault.x).plan
        guest = SimulatedWorker(self._world, WorkerPlan(f"x{len(self._guests)}", known.queues, known.tasks, 1, 1))
        self._guests.append(guest)
        guest.start()
        self._later(fault.seconds, guest.stop)

    def _twin(self, fault: PlannedFault) -> None:
        twin = SimulatedWorker(self._world, self._one_of(fault.x).plan)
        self._guests.append(twin)
        twin.start()
        self._later(fault.seconds, twin.stop)

    def _client_dies(self, fault: PlannedFault) -> None:
        if self._client.process is not None and not self._client.done:
            self._world.history.tell("client", "is killed")
            self._client.process.kill()
            self._later(fault.seconds, self._client.start)

    # The networks

    def _store_loss(self, fault: PlannedFault) -> None:
        self._world.weather.store_loss = 0.1 + 0.4 * fault.x
        self._later(fault.seconds, lambda: setattr(self._world.weather, "store_loss", 0.0))

    def _late_burst(self, fault: PlannedFault) -> None:
        self._world.weather.store_loss = 0.9
        self._later(fault.seconds / 4, lambda: setattr(self._world.weather, "store_loss", 0.0))

    def _kafka_loss(self, fault: PlannedFault) -> None:
        self._world.weather.kafka_loss = 0.2 + 0.6 * fault.x
        self._later(fault.seconds, lambda: setattr(self._world.weather, "kafka_loss", 0.0))

    def _store_away(self, fault: PlannedFault) -> None:
        self._world.weather.store_away = True
        self._later(fault.seconds, lambda: setattr(self._world.weather, "store_away", False))

    def _kafka_away(self, fault: PlannedFault) -> None:
        self._world.weather.kafka_away = True
        self._later(fault.seconds, lambda: setattr(self._world.weather, "kafka_away", False))

    def _store_cut(self, fault: PlannedFault) -> None:
        name = self._one_of(fault.x).plan.name
        self._world.weather.cut_from_store.add(name)
        self._later(fault.seconds, lambda: self._world.weather.cut_from_store.discard(name))

    def _kafka_cut(self, fault: PlannedFault) -> None:
        name = self._one_of(fault.x).plan.name
        self._world.weather.cut_from_kafka.add(name)
        self._later(fault.seconds, lambda: self._world.weather.cut_from_kafka.discard(name))

    # The services

    def _new_run(self) -> str:
        self._runs += 1
        return f"run{self._runs}"

    def _store_restart(self, fault: PlannedFault) -> None:
        """A clean restart: nothing is lost."""
        self._store_away(fault._replace(seconds=min(fault.seconds, 0.5)))
        self._world.server.restarted(self._new_run())
        self._world.truth.doubted = True

    def _last_second(self, fault: PlannedFault) -> None:
        """The store loses its last writes: up to two heartbeats, or twice that in a history with one loss.

        With two losses, a record that was rebuilt from an old message may be lost again, as the protocol says. The
        store comes back as another run of the server, as after a crash or a failover: one run never loses writes.
        """
        if self._saved:
            return
        self._saved = True
        world = self._world
        world.server.save()
        losses = [each.kind for each in world.plan.faults if each.kind in LOSSES]
        alone = losses == ["last second"]
        most = (4 if alone else 2) * world.plan.lease / 3
        world.loom.after(0.2 + fault.y * (most - 0.2), lambda: self._restore(fault))

    def _restore(self, fault: PlannedFault) -> None:
        if not self._saved:
            return  # it was emptied in between
        self._saved = False
        world = self._world
        world.server.restore()
        if not self.over and fault.y > 0.5:  # a worker that could have told others of the loss
            for number in range(len(self._workers) if world.plan.theme in ONE_FAULT else 1):
                self._crash(fault._replace(x=(fault.x + number / len(self._workers)) % 1.0))
        world.server.restarted(self._new_run())
        if not self.over and fault.x < 0.67:
            self._store_away(fault._replace(seconds=min(fault.seconds, 1.0)))
        world.truth.stored_anew(world.server.dump(), "the store has lost its last moments")

    def _lost_twice(self, fault: PlannedFault) -> None:
        """A worker sleeps while the store loses its last moments, and loses them again."""
        loss = fault._replace(y=0.5, x=max(fault.x, 0.67))
        self._last_second(loss)
        lasts = 0.2 + loss.y * (2 * self._world.plan.lease / 3 - 0.2)
        self._later(lasts - 0.02, lambda: self._pause(fault._replace(kind="pause", seconds=2 * lasts + 1.0)))
        self._later(lasts + 0.7, lambda: self._last_second(loss))

    def _flush_and_last_second(self, fault: PlannedFault) -> None:
        """Records that were rebuilt from old messages after the store was emptied are lost again."""
        self._flush(fault)
        self._later(0.2 + 1.5 * fault.y, lambda: self._last_second(fault))

    def _flush(self, fault: PlannedFault) -> None:
        self._saved = False
        world = self._world
        run = f"run{self._runs}" if fault.x < 0.5 else self._new_run()
        world.server.empty(run)
        world.truth.stored_anew({}, "FLUSHALL")

    def _absence(self, fault: PlannedFault) -> None:
        """All workers are gone for longer than records are kept; during that time the store is emptied."""
        for worker in self._workers:
            if worker.process is not None:
                worker.process.kill()
        self._later(0.5, lambda: self._flush(fault))
        for worker in self._workers:
            self._later(self._world.plan.result_ttl + fault.y, worker.start)

    def _copies(self, fault: PlannedFault) -> None:
        """Messages are copied in the log, some of them twice."""
        kafka = self._world.kafka
        places = [(partition, entry) for partition, log in sorted(kafka.logs.items()) for entry in log if entry.id]
        for number in range(COPIES[int(fault.y * len(COPIES))]):
            if places:
                partition, entry = places[int(fault.x * 7919 * (number + 1)) % len(places)]
                targets = [
                    each
                    for each in kafka.logs
                    if each.queue == partition.queue
                    and each.number % self._world.plan.shards == shard_of(entry.id, self._world.plan.shards)
                ]
                target = targets[number % len(targets)]
                offset = kafka.append(target, entry._replace(timestamp_ms=self._world.now_ms))
                self._world.history.tell("broker", f"has {short(entry.id)} again at {name_of(target)}:{offset}")

    def _retention(self, fault: PlannedFault) -> None:
        """The log drops its oldest messages, read or not; the store alone has the tasks of those that were not."""
        kafka = self._world.kafka
        for partition, log in sorted(kafka.logs.items()):
            start = kafka.starts[partition]
            kept = max(start, len(log) - 1 - int(fault.x * 4))
            gone = [entry.id for entry in log[start:kept] if entry.id]
            self._world.truth.scheduled.update(gone)
            kafka.starts[partition] = kept
            if gone:
                self._world.history.tell("broker", f"drops {name_of(partition)} up to {kept}")

    def everything_again(self) -> None:
        """Every message is copied in the log: as when a group was deleted and its whole topic is read again."""
        kafka = self._world.kafka
        for partition, log in sorted(kafka.logs.items()):
            for entry in [entry for entry in log if entry.id]:
                kafka.append(partition, entry._replace(timestamp_ms=self._world.now_ms))
        self._world.history.tell("broker", "has every message a second time")

    def _junk(self, fault: PlannedFault) -> None:
        partition = sorted(self._world.kafka.logs)[0]
        self._world.kafka.append(partition, Entry("", b'{"v":1,"id":', self._world.now_ms))

    # The end

    def _well_again(self) -> None:
        self.over = True
        self._world.history.tell("FAULT", "none from here on")
        weather = self._world.weather
        weather.store_away = weather.kafka_away = False
        weather.store_loss = weather.kafka_loss = 0.0
        weather.cut_from_store.clear()
        weather.cut_from_kafka.clear()
        for worker in (*self._workers, *self._guests):
            if worker.process is not None and worker.process.paused_since is not None:
                worker.process.resume()
        for guest in self._guests:
            guest.stop()
        for worker in self._workers:
            worker.start()
            self._world.loom.after(STOP_SECONDS, worker.start)  # one that was just told to stop
        self._client.start()

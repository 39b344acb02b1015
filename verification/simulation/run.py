"""One seed, one history."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import NamedTuple

from verification.simulation import checker
from verification.simulation.client import SimulatedClient
from verification.simulation.faults import Faults
from verification.simulation.history import Violation
from verification.simulation.mutation import Mutant, in_force
from verification.simulation.plan import plan_of
from verification.simulation.server import Server
from verification.simulation.stand_ins import installed
from verification.simulation.strands import Stuck
from verification.simulation.truth import ENDED
from verification.simulation.worker import SimulatedWorker
from verification.simulation.world import World
from yadtq_core.worker import restart

HEAL_SECONDS = 120.0
"""Seconds after the last fault within which every task must end (I1)."""
LOOK_SECONDS = 0.5
MOMENTS = 3
"""At which the store is looked at as a whole, besides the end."""
QUIET_LOOKS = 3
"""Consecutive looks that find nothing left to do: by then every worker had a heartbeat, and a rewind if needed."""
EXPIRE_SECONDS = 0.5


class HistoryResult(NamedTuple):
    """How one history went; `problem` is empty where all rules held."""

    seed: int
    theme: str
    problem: str
    digest: str
    seconds: float
    world: World


def run(seed: int, server: Server, mutant: Mutant | None = None) -> HistoryResult:
    """Let the history of a seed happen, and judge it; with a mistake in a rule, where `mutant` is one.

    A mistake in a script is the server's: `Server.use`. What production code raises by it breaks the history too.
    """
    world = World(plan_of(seed), server)
    server.empty("run1")
    logging.disable(logging.CRITICAL)
    started = restart.process_started
    vars(restart)["process_started"] = world.process_started
    problem = ""
    try:
        with installed(world.loom, world.rng), in_force(mutant) if mutant else nullcontext():
            try:
                _happen(world)
            except Violation as error:
                problem = str(error)
            except (Stuck, Exception) as error:
                if mutant is None and not isinstance(error, Stuck):
                    raise
                problem = f"{type(error).__name__}: {error}"
            finally:
                world.loom.end()
    finally:
        vars(restart)["process_started"] = started
        logging.disable(logging.NOTSET)
    return HistoryResult(seed, world.plan.theme, problem, world.history.digest(), world.loom.now, world)


def _happen(world: World) -> None:
    workers = [SimulatedWorker(world, plan) for plan in world.plan.workers]
    client = SimulatedClient(world)
    faults = Faults(world, workers, client)
    for worker in workers:
        worker.start()
    client.start()
    faults.schedule()
    _expire(world)
    for moment in sorted(world.rng.uniform(1.0, world.plan.ends_at) for _ in range(MOMENTS)):
        world.loom.run(moment)
        _judge(world, at_the_end=False)
    world.loom.run(world.plan.ends_at)
    _come_to_rest(world, client)
    if world.plan.result_ttl < 1000:
        world.loom.run(world.loom.now + world.plan.result_ttl)
        faults.everything_again()
        _come_to_rest(world, client)
    _judge(world, at_the_end=True)
    _partitions(world)


def _come_to_rest(world: World, client: SimulatedClient) -> None:
    until = world.loom.now + HEAL_SECONDS
    calm = 0
    while calm < QUIET_LOOKS and world.loom.now < until:
        world.loom.run(world.loom.now + LOOK_SECONDS)
        calm = calm + 1 if _quiet(world, client) else 0


def _judge(world: World, *, at_the_end: bool) -> None:
    dump = world.server.dump()
    broken = checker.end(world, dump) if at_the_end else checker.moment(world, dump)
    for rule, what in broken:
        raise world.history.violated(rule, what)


def _quiet(world: World, client: SimulatedClient) -> bool:
    """True when nothing is left: all tasks ended, dead letters published, offsets settled, partitions assigned."""
    if not client.done or any(state.st not in ENDED for state in world.truth.states.values()):
        return False
    if any(world.kafka.committed(part) != world.kafka.end(part) for part in world.kafka.logs):
        return False
    owners, targets = world.kafka.owners, world.kafka.targets
    if any(owners.get(part) is not targets.get(part) or owners[part].process.dead for part in targets):
        return False
    names = [f"yadtq:{{sim:{shard}}}:open" for shard in range(world.plan.shards)]
    return not any(world.server.send([("ZCARD", name) for name in names]))


def _partitions(world: World) -> None:
    """No offset may stay uncommitted: the messages after it would be read again after every restart."""
    for partition in sorted(world.kafka.logs):
        if world.kafka.committed(partition) != world.kafka.end(partition):
            raise world.history.violated(
                "I12",
                f"{partition} is committed up to {world.kafka.committed(partition)} of {world.kafka.end(partition)}",
            )


def _expire(world: World) -> None:
    if world.plan.result_ttl < 1000:
        world.truth.expire(world.server.expire(world.now_ms))
        world.loom.after(EXPIRE_SECONDS, lambda: _expire(world))

"""What must hold of the whole: of the store at any one moment, and of everything at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from verification.simulation.history import short
from verification.simulation.truth import ENDED, INDEXES, NONE, UNFINISHED, misplaced
from verification.simulation.world import World


def moment(world: World, dump: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong (rule, sentence) with the store at one moment."""
    records = {key[-36:]: row for key, row in dump.items() if ":task:" in key}
    places: defaultdict[str, list[str]] = defaultdict(list)
    for key, index, row in _indexes(dump):
        for member in row:
            places[member].append(index)
            if member not in records:
                yield "I5", f"{short(member)} is in {key} and has no record"
    for task_id, row in records.items():
        if wrong := misplaced(row.get("st", ""), row.get("qu", ""), places[task_id]):
            yield "I5", f"{short(task_id)} {wrong}"
    yield from _counters(world, dump, records)


def _indexes(dump: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield (key, name, members) of each index."""
    for key, row in dump.items():
        name = key.partition("}:")[2]
        if name in INDEXES:
            yield key, name, row


def _counters(world: World, dump: dict[str, Any], records: dict[str, dict[str, str]]) -> Iterator[tuple[str, str]]:
    told: Counter[str] = Counter()
    for key, row in dump.items():
        if key.endswith(":counts"):
            told.update({field: int(number) for field, number in row.items()})
    counted: Counter[str] = Counter(
        f"{row.get('qu', 'default')}:{row['st']}" for row in records.values() if row["st"] in UNFINISHED
    )
    for field in sorted(told.keys() | counted.keys()):
        if not field.startswith(":") and told[field] != counted[field]:
            yield "I9", f"the counter {field} says {told[field]}, there are {counted[field]}"
    if not world.truth.losses:
        ends = Counter(end.status for ends in world.truth.ends.values() for end in ends)
        for status in sorted(ENDED):
            if told[f":{status}"] != ends[status]:
                yield "I9", f"the counter of {status} says {told[f':{status}']}, there were {ends[status]}"


def end(world: World, dump: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong at the end, when nothing moves any more."""
    yield from moment(world, dump)
    yield from _accepted(world)
    yield from _records(world)
    yield from _refused(world)
    yield from _conflicts(world)
    yield from _dead_letters(world)
    if world.plan.theme == "calm":
        yield from _no_repeats(world)
    for key, _, row in _indexes(dump):
        if row:
            yield "I5", f"still in {key}: {', '.join(map(short, sorted(row)))}"
    for key, row in dump.items():
        if ":held:" in key and row and world.plan.theme == "calm":  # elsewhere it is a hint, and may be left over
            yield "held", f"{key.rpartition(':')[2]} is said to hold {', '.join(map(short, sorted(row)))}"


def _accepted(world: World) -> Iterator[tuple[str, str]]:
    """I1: each accepted task has ended, and its record agrees.

    After a total loss of the store, exceptions are tasks that had ended and tasks that were in the store alone. After
    a loss of the last moments there is no other exception: tasks submitted and ended in them run again.
    """
    truth = world.truth
    for task_id in sorted(world.accepted()):
        state = truth.states.get(task_id, NONE)
        if state.st in ENDED or (not state.st and task_id in truth.expired | truth.flushed):
            continue
        if not state.st and task_id in truth.excepted:
            continue
        yield "I1", f"{short(task_id)} was accepted and is {state.st or 'nowhere'} at the end"


def _records(world: World) -> Iterator[tuple[str, str]]:
    """I4, I14: every record was submitted, and holds what its arguments give."""
    for task_id, state in sorted(world.truth.states.items()):
        submitted = world.submitted.get((task_id, state.ha))
        if submitted is None or submitted.message.task != state.tk:
            yield "I4", f"the record of {short(task_id)} is none that was submitted"
            continue
        if (state.qu or "default") != submitted.message.queue:
            yield "I4", f"{short(task_id)} is in queue {state.qu}, not in {submitted.message.queue}"
        if state.st == "success" and state.re.encode() != submitted.result:
            yield "I14", f"{short(task_id)} gives {state.re}, not {submitted.result!r}"
        if state.st == "cancelled" and task_id not in world.cancelled:
            yield "I4", f"{short(task_id)} is cancelled without a request"
        if state.st == "failed" and not _may_fail(world, state.lost, submitted.plan):
            yield "I14", f"{short(task_id)} has failed without a reason"


def _may_fail(world: World, lost: int, plan: Any) -> bool:
    unknown = plan.task == "rare" and world.plan.unknown_task_ttl < 1000
    return bool(plan.kills or plan.fails > plan.retries or lost > world.plan.lost_limit or unknown)


def _refused(world: World) -> Iterator[tuple[str, str]]:
    """I13: a task that was refused for certain never ran, and has no record."""
    for key, answers in sorted(world.answers.items()):
        surely = len(answers) == world.asked[key] and set(answers) == {"refused"}
        if surely and world.truth.states.get(key[0], NONE).ha == key[1]:
            yield "I13", f"{short(key[0])} was refused and has a record"


def _conflicts(world: World) -> Iterator[tuple[str, str]]:
    """I4: of one ID with two sets of arguments one is refused, by a store that remembers."""
    if not world.truth.losses and not world.truth.expired:
        accepted = Counter(key[0] for key, answers in world.answers.items() if "ok" in answers)
        for task_id, count in sorted(accepted.items()):
            if count > 1:
                yield "I4", f"{short(task_id)} was accepted with two sets of arguments"


def _dead_letters(world: World) -> Iterator[tuple[str, str]]:
    """I5: each failed task has a dead letter."""
    for task_id, state in sorted(world.truth.states.items()):
        if state.st == "failed" and task_id not in world.kafka.dead:
            yield "I5", f"{short(task_id)} has failed without a dead letter"


def _no_repeats(world: World) -> Iterator[tuple[str, str]]:
    """I8: without a fault every task runs once, plus once for each retry."""
    for task in world.plan.tasks:
        runs, expected = world.truth.begun[task.id], 1 + min(task.fails, task.retries)
        if task.other_at is None and task.id not in world.truth.expired and runs != expected:
            yield "I8", f"{short(task.id)} ran {runs} times, not {expected}, and nothing went wrong"

"""Watches every change of every record, at the moment it happens, and judges it by the state before."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from verification.simulation.history import History, short
from verification.simulation.plan import QUEUES
from verification.simulation.strands import SimulatedProcess

FIELDS = ("st", "fe", "at", "dl", "nc", "lo", "in", "re", "po", "ha", "tk", "qu", "ca")
ENDED = frozenset({"success", "failed", "cancelled"})
UNFINISHED = frozenset({"queued", "scheduled", "processing"})
ALLOWED = {
    "create": {("", "queued"), ("", "scheduled")},
    "confirm": set[tuple[str, str]](),
    "claim": {
        *((status, "processing") for status in ("", "queued", "processing", "scheduled")),
        *((status, "cancelled") for status in ("queued", "processing", "scheduled")),
        ("processing", "failed"),
    },
    "offer": {
        *((status, "queued") for status in ("", "queued", "processing", "scheduled")),
        *((status, "cancelled") for status in ("queued", "processing", "scheduled")),
        ("processing", "failed"),
    },
    "extend": {("queued", "processing")},
    "finish": {(before, after) for before in ("processing", "queued") for after in (*ENDED, "scheduled")},
    "release": {(before, after) for before in ("processing", "queued") for after in ("queued", "scheduled", "failed")},
    "take": set[tuple[str, str]](),
    "recover": set[tuple[str, str]](),
    "sweep": {
        *(("processing", after) for after in ("queued", "failed", "cancelled")),
        *(("scheduled", after) for after in ("queued", "cancelled")),
        ("queued", "cancelled"),
    },
    "cancel": {("queued", "cancelled"), ("scheduled", "cancelled")},
    "buried": set[tuple[str, str]](),
}
"""The status changes that each script may make ('' is no record)."""


INDEXES = ("open", "scheduled", *(f"{index}:{queue}" for index in ("ready", "waiting") for queue in QUEUES))
"""The indexes of a shard, by the end of their keys."""


def misplaced(status: str, queue: str, indexes: Sequence[str]) -> str:
    """Return what is wrong with the places of a record in the indexes; '' if they are right."""
    of_queue = {f"{index}:{queue or 'default'}" for index in ("ready", "waiting")}
    allowed = {"queued": {"open", *of_queue}, "processing": {"open"}, "scheduled": {"scheduled"}, "failed": {"open"}}
    fits = set(indexes) <= allowed.get(status, set()) and len(indexes) <= 1 and (indexes or status not in UNFINISHED)
    return "" if fits else f"is {status or 'gone'} and in the indexes {', '.join(indexes) or 'none'}"


LACKED = ("unknown_task", "binding_failed")
"""Reasons of a release after which the message is settled: the store alone has the task."""


class State(NamedTuple):
    """The fields of a record that are watched; '' if there is none."""

    st: str = ""
    fe: str = ""
    at: str = ""
    dl: str = ""
    nc: str = ""
    lo: str = ""
    incarnation: str = ""
    re: str = ""
    po: str = ""
    ha: str = ""
    tk: str = ""
    qu: str = ""
    ca: str = ""

    @property
    def fence(self) -> int:
        """The fence as a number."""
        return int(self.fe or 0)

    @property
    def deadline(self) -> int:
        """The end of the lease, or the due time, in milliseconds."""
        return int(self.dl or 0)

    @property
    def lost(self) -> int:
        """How often its worker was lost."""
        return int(self.lo or 0)


class End(NamedTuple):
    """An accepted end of a record, in one life (`era`) of the store."""

    era: int
    status: str
    at: float


class Carried(NamedTuple):
    """A call of a script that was carried out. `late`: the sender had stopped waiting."""

    process: SimulatedProcess
    script: str
    keys: Sequence[str]
    arguments: Sequence[Any]
    now_ms: int
    late: bool


class Change(NamedTuple):
    """What a call did to one record; `fences` are those that it named for it."""

    id: str
    before: State
    after: State
    fences: set[str]


NONE = State()


class Truth:
    """The states of all records, and what became of them. Raises Violation at the first broken rule."""

    def __init__(self, history: History, lost_limit: int, lease: float) -> None:
        self.history = history
        self._lost_limit = lost_limit
        self._again_seconds = 2 * lease / 3
        self.states: dict[str, State] = {}
        self.era = 0
        self.ends: defaultdict[str, list[End]] = defaultdict(list)
        self._created: dict[str, int] = {}
        self._born = 0
        self._ended: dict[str, int] = {}
        """In which life of the store each has ended, unless it was submitted anew since."""
        self.fences: defaultdict[str, list[int]] = defaultdict(list)
        self.granted: set[tuple[str, int, str]] = set()
        """(ID, fence, incarnation) of every lease that was given."""
        self.told_lost: set[tuple[str, int]] = set()
        """(ID, fence) of the leases of which a worker has heard that they are lost."""
        self.stopped: set[tuple[str, int]] = set()
        """(ID, fence) of the runs that their own worker has ended because it stops."""
        self.scheduled: set[str] = set()
        """IDs that have once left the broker for the store alone."""
        self.begun: Counter[str] = Counter()
        """How many runs of each have begun."""
        self.flushed: set[str] = set()
        """IDs of tasks that ended early enough before a total loss of the store that they must not run again."""
        self.excepted: set[str] = set()
        """IDs that a loss of the store may have lost for ever: the broker does not have them."""
        self.expired: set[str] = set()
        self._deaths: defaultdict[str, set[str]] = defaultdict(set)
        """The fences of the runs that count as lost, in this life of the store."""
        self.losses = 0
        self.doubted = False
        """The store has lost something or begun anew, which to the workers looks alike."""

    def who(self, process: SimulatedProcess) -> str:
        """Return who acts, for the history."""
        return f"{process.name}/{process.loom.current.name}"

    def executed(self, call: Carried, found: Sequence[tuple[Sequence[bytes | None], Sequence[str]]]) -> None:
        """A script was carried out; check its change of each record, by the record and its indexes as they are now."""
        changed = []
        named: defaultdict[str, set[str]] = defaultdict(set)
        for index, key in enumerate(call.keys):
            named[key].add(_fence_of(call, index))  # one batch may end two runs of one task
            if call.script == "release" and str(call.arguments[6 + 7 * index]) in LACKED:
                self.scheduled.add(key[-36:])
        for key, (fields, indexes) in zip(call.keys, found, strict=True):
            task_id = key[-36:]
            after = State(*[field.decode() if field is not None else "" for field in fields])
            before = self.states.get(task_id, NONE)
            if wrong := misplaced(after.st, after.qu, indexes):
                raise self.history.violated("I5", f"after {call.script} {short(task_id)} {wrong}")
            if after != before:
                changed.append(f"{short(task_id)} {_told(before, after)}")
                self.states[task_id] = after
                self._judge(call, Change(task_id, before, after, named[key]))
        who = f"{call.process.name} (late)" if call.late else self.who(call.process)
        self.history.tell(who, f"{call.script} {len(call.keys)}: " + ", ".join(changed))

    def stored_anew(self, dump: dict[str, Any], what: str) -> None:
        """The store has lost what it knew but for this."""
        self.era += 1
        self.losses += 1
        self.doubted = True
        self.excepted |= self.scheduled
        if not dump:
            long_ago = self.history.now - self._again_seconds
            self.flushed |= {task_id for task_id, ends in self.ends.items() if ends and ends[0].at < long_ago}
        self._deaths.clear()
        self.states = {key[-36:]: State(*[row.get(name, "") for name in FIELDS]) for key, row in _tasks(dump)}
        self.history.tell("store", f"{what}; {len(self.states)} records stand")

    def expire(self, keys: Sequence[str]) -> None:
        """These keys ended by themselves."""
        for key in keys:
            if ":task:" in key and self.states.pop(key[-36:], None) is not None:
                self.expired.add(key[-36:])
                self.history.tell("store", f"{short(key[-36:])} expires")

    def _judge(self, call: Carried, change: Change) -> None:
        task_id, before, after, fences = change
        script, now_ms = call.script, call.now_ms
        name, broken = short(task_id), self.history.violated
        if not after.st:
            raise broken("I1", f"{script} made {name} vanish")
        if before.st in ENDED and (after.st, after.re) != (before.st, before.re):
            raise broken("I6", f"{script} turned the ended {name} from {before.st} to {after.st}")
        if before.st != after.st and (before.st, after.st) not in ALLOWED[script]:
            raise broken("I6", f"{script} turned {name} from {before.st or 'nothing'} to {after.st}")
        if after.fence < before.fence:
            raise broken("I2", f"{script} lowered the fence of {name} from {before.fe} to {after.fe}")
        if after.lost > self._lost_limit + 1:
            raise broken("I10", f"{name} was lost {after.lo} times, {self._lost_limit} are allowed")
        self._judge_deaths(call, change)
        if script == "claim":
            self._judge_claim(call, change)
        elif script in ("extend", "finish", "release") and before.fe not in fences and _held(before) != _held(after):
            raise broken(
                "I2",
                f"{script} with fence {' '.join(sorted(fences))} changed {name}, whose fence was {before.fe or 'none'}",
            )
        elif script in ("sweep", "offer") and before.st == "processing" and before.deadline > now_ms:
            raise broken("I7", f"{script} took {name} {before.deadline - now_ms} ms before its lease ended")
        elif script in ("sweep", "offer") and before.st == "scheduled" and before.deadline > now_ms and not after.ca:
            raise broken("I6", f"{script} took {name} {before.deadline - now_ms} ms before its time")
        if script == "release" and after.fence != before.fence + 1:
            raise broken("I2", f"release left {name} the fence of the run that it took it from")
        if script == "release" and after.lost > before.lost and (task_id, before.fence) in self.stopped:
            raise broken("I18", f"{name} counts as lost, and its worker had ended the run because it stops")
        outside = (before.st == "scheduled" and script in ("sweep", "offer")) or (
            after.st in ENDED and script in ("claim", "sweep", "offer", "cancel")
        )
        if outside and before.st != after.st and after.fence != before.fence + 1:
            raise broken("I2", f"{script} took {name} from outside its run and left it the fence {before.fe}")
        self._note(call, change)

    def _judge_deaths(self, call: Carried, change: Change) -> None:
        """Each run counts as lost once, and not at all if it goes on or has its outcome accepted."""
        task_id, before, after, _ = change
        deaths, name = self._deaths[task_id], short(task_id)
        if after.lost > before.lost:
            if before.fe in deaths:
                raise self.history.violated("I10", f"{call.script} counts the death of {name} under {before.fe} again")
            deaths.add(before.fe)
        elif after.lost < before.lost:
            deaths.discard(before.fe)
        if call.script in ("extend", "finish") and before.fe in deaths:
            raise self.history.violated(
                "I10", f"{call.script} lets {name} count as lost, whose run under {before.fe} lives"
            )

    def _judge_claim(self, call: Carried, change: Change) -> None:
        task_id, before, after, _ = change
        now_ms = call.now_ms
        name, broken = short(task_id), self.history.violated
        if after.st != "processing":
            return
        if after.fe == before.fe:
            if before.nc != call.arguments[0]:
                raise broken("I7", f"{name} was given twice under the fence {after.fe}")
            return
        if before.st == "processing" and before.deadline > now_ms:
            raise broken("I7", f"{name} was given away {before.deadline - now_ms} ms before its lease ended")
        if before.st == "scheduled" and before.deadline > now_ms:
            raise broken("I6", f"{name} was begun {before.deadline - now_ms} ms before its time")
        if self.fences[task_id] and after.fence <= self.fences[task_id][-1]:
            raise broken("I2", f"{name} was given under {after.fe}, after {self.fences[task_id][-1]}")
        if before.ca:
            raise broken("I6", f"{name} was to be cancelled and is begun")
        if not self.losses and task_id not in self.expired and int(after.at) <= self.begun[task_id]:
            raise broken("I6", f"{name} is given as attempt {after.at}, {self.begun[task_id]} have begun")
        # An expired record may have been lost by a store that started empty since the submit: then the task runs again.
        # So does a task that was submitted in the very millisecond of the store's first record.
        unsure = self.doubted or self._created.get(task_id) == self._born
        remembered = not (unsure and task_id in self.expired)
        if remembered and self._ended.get(task_id) == self.era:
            raise broken("I8", f"{name} is begun again: it ended in this life of the store")
        self.fences[task_id].append(after.fence)
        self.granted.add((task_id, after.fence, after.incarnation))

    def _note(self, call: Carried, change: Change) -> None:
        task_id, before, after, _ = change
        script, now_ms = call.script, call.now_ms
        if after.st == "scheduled":
            self.scheduled.add(task_id)
        if after.st in ENDED and before.st not in ENDED:
            self.ends[task_id].append(End(self.era, after.st, self.history.now))
            self._ended[task_id] = self.era
        if script == "create" and not before.st:
            self._created[task_id] = now_ms
            self._born = self._born or now_ms
            self._ended.pop(task_id, None)  # submitted anew, after its record had expired


def _tasks(dump: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    return [(key, row) for key, row in dump.items() if ":task:" in key and row]


def _held(state: State) -> tuple[str, ...]:
    return (state.st, state.dl, state.re, state.fe)


def _fence_of(call: Carried, index: int) -> str:
    """Return the fence that a call names for its record of this index; '' where it names none."""
    first, each = {"extend": (1, 2), "finish": (2, 6), "release": (5, 7)}.get(call.script, (0, 0))
    return str(call.arguments[first + each * index]) if each else ""


def _told(before: State, after: State) -> str:
    told = after.st if before.st == after.st else f"{before.st or 'new'}→{after.st}"
    if after.fe != before.fe:
        told += f" f…{after.fe[-7:]}"
    if after.dl != before.dl and after.dl:
        told += f" until {int(after.dl) % 1_000_000 / 1000:.3f}"
    if after.at != before.at:
        told += f" attempt {after.at}"
    if after.lo != before.lo:
        told += f" lost {after.lo}"
    if after.po != before.po:
        told += f" at {after.po or 'no place'}"
    return told

"""The checker: the invariants of every history, as pure functions. Each yields one sentence for each violation.

The invariants of tasks are here, those of processes in `recovery.py`.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from verification.faults import history as h
from verification.faults.oracle import expected, result
from verification.faults.recovery import (
    a_told_end_is_orderly,
    lost_runs_start_again_soon,
    memory_is_bounded,
    work_goes_on,
)
from verification.faults.view import SLACK_MS, TERMINAL, Lease, Prefix, Rules, View, Written

Rule = Callable[[View, Rules], Iterator[str]]


def every_accepted_task_ends_once(view: View, rules: Rules) -> Iterator[str]:
    """I1: each accepted task has one terminal record at the end, and ended once in each life of the store."""
    if view.final is None:
        yield "there is no final dump"
        return
    for task_id, outcome in view.outcomes.items():
        record = view.final.records.get(task_id)
        if record is None:
            if outcome == "ok" and not _may_be_forgotten(view, rules, task_id):
                yield f"{task_id} was accepted and is nowhere at the end"
        elif outcome == "ok" and record.status not in TERMINAL:
            yield f"{task_id} was accepted and is {record.status} at the end"
    for task_id, ends in view.ends.items():
        eras = Counter(view.era(end.b, end.a) for end in ends if end.code == "ok")
        for era, count in eras.items():
            if era is not None and count > 1:
                yield f"{task_id} was ended {count} times in one life of the store"


def _may_be_forgotten(view: View, rules: Rules, task_id: str) -> bool:
    """True when a task ended early enough before a total loss of the store that it must not run again."""
    ended = max(view.ended(task_id), default=math.inf)
    loss = next((loss for loss in view.losses if loss.a > ended), None)
    return rules.forgets and loss is not None and ended < loss.b - rules.again


def only_the_newest_fence_counts(view: View, rules: Rules) -> Iterator[str]:
    """I2: nothing is accepted from a run that another has replaced; fences rise; the record has the last one's."""
    for task_id, leases in view.leases.items():
        for fence, count in Counter(lease.fence for lease in leases).items():
            if count > 1:
                yield f"{task_id}: fence {fence} was given {count} times"
        newest: Lease | None = None
        for lease in sorted(leases, key=lambda one: one.b):
            if newest is not None and newest.a < lease.b and newest.fence >= lease.fence:
                yield f"{task_id}: a later claim got fence {lease.fence}, below {newest.fence}"
            newest = lease if newest is None or lease.fence > newest.fence else newest
    for written in (view.finishes, view.extensions):
        for task_id, answers in written.items():
            yield from _replaced(view, task_id, answers)
    yield from _last_fences(view)


def _replaced(view: View, task_id: str, answers: Sequence[Written]) -> Iterator[str]:
    for answer in answers:
        if answer.code not in ("ok", "cancel"):
            continue
        era = view.era(answer.b, answer.a)
        for lease in view.leases.get(task_id, ()):
            newer = lease.fence > answer.fence and lease.a < answer.b
            if newer and era is not None and view.era(lease.b, lease.a) == era:
                yield f"{task_id}: fence {answer.fence} was accepted though {lease.fence} had been given"


def _last_fences(view: View) -> Iterator[str]:
    for task_id, record in view.final.records.items() if view.final else ():
        ends = [end for end in view.ends.get(task_id, ()) if view.era(end.b, end.a) == view.last_era]
        if record.status in TERMINAL and ends and record.fence != ends[-1].fence:
            yield f"{task_id}: its record has fence {record.fence}, its accepted end {ends[-1].fence}"


def nothing_is_committed_early(view: View, rules: Rules) -> Iterator[str]:
    """I3: everything below a committed offset needs its message no more; the broker's own word and each worker's.

    Of a topic that was made anew only the first is looked at: the offsets that workers still had of it say nothing
    of the next, and what they pass over there is swept.
    """
    topics = view.of(h.Topic)
    if not topics:
        return
    prefixes: dict[tuple[str, int, int], Prefix] = {}
    commits: list[h.Group | h.Committing] = [*view.of(h.Group), *view.of(h.Committing)]
    for commit in commits:
        if len(topics) > 1 and commit.a > topics[0].b:
            continue
        losses = view.noticed(commit.who, commit.a)
        for one in commit.offsets:
            part = (one.queue, one.partition, losses)
            if part not in prefixes:
                prefixes[part] = Prefix(view.log.get(part[:2], ()), _settled_after(view, rules, losses))
            settled, task_id = prefixes[part].below(one.offset)
            if settled > commit.a:
                what = f"{one.queue}/{one.partition} was committed up to {one.offset}"
                yield f"{what} by {commit.who} before {task_id} below it was settled{_again(losses)}"


def _settled_after(view: View, rules: Rules, losses: int) -> Callable[[str], float]:
    """Return a function for the time at which a message was first settled, after `losses` losses of the store."""
    noticed = view.losses[:losses]

    def settled(task_id: str) -> float:
        times = view.settled.get(task_id, ())
        return next((at for at in times if all(rules.outlasts(at, loss) for loss in noticed)), math.inf)

    return settled


def _again(losses: int) -> str:
    return f" again after loss {losses} of the store" if losses else ""


def nothing_is_invented(view: View, rules: Rules) -> Iterator[str]:
    """I4: every record was submitted, with that task and those arguments."""
    for freeze in view.of(h.Freeze):
        for task_id, record in freeze.records.items():
            submit = view.submits.get(task_id)
            if submit is None:
                yield f"{task_id} has a record and was never submitted"
            elif record.task != submit.task:
                yield f"{task_id} was submitted as {submit.task}, its record says {record.task}"
            elif record.digest != view.digests.get(task_id, record.digest):
                yield f"{task_id}: its record has the digest of other arguments"


def each_unfinished_record_is_in_one_index(view: View, rules: Rules) -> Iterator[str]:
    """I5: every unfinished record is in one index, and nothing else but failures without a dead letter in `open`."""
    for freeze in view.of(h.Freeze):
        unfinished = {task_id for task_id, record in freeze.records.items() if record.status not in TERMINAL}
        for task_id in unfinished:
            indexes = freeze.indexes.get(task_id, [])
            if len(indexes) != 1:
                yield f"{task_id} is {freeze.records[task_id].status} and in the indexes {indexes}"
        for task_id in freeze.indexes.keys() - unfinished:
            record = freeze.records.get(task_id)
            if freeze.final or record is None or record.status != "failed" or freeze.indexes[task_id] != ["open"]:
                yield f"{task_id} is {record.status if record else 'nowhere'} and still in {freeze.indexes[task_id]}"


def ended_is_ended(view: View, rules: Rules) -> Iterator[str]:
    """I6: a terminal record changes no more, and no reader sees a fence go down, in one life of the store."""
    seen: dict[tuple[str, int], list[tuple[float, float, str, int]]] = defaultdict(list)
    for freeze in view.of(h.Freeze):
        _see(view, seen, freeze, [(task_id, one.status, one.fence) for task_id, one in freeze.records.items()])
    for read in view.of(h.Read):
        _see(view, seen, read, [(task_id, status, fence) for task_id, status, _, fence in read.got])
    for claimed in view.of(h.Claimed):
        _see(view, seen, claimed, [(one.id, "processing", one.fence) for one in claimed.got if one.verdict == "run"])
    for finished in view.of(h.Finished):
        done = [one for one in finished.got if one.code == "ok"]
        _see(view, seen, finished, [(one.id, one.about, one.fence) for one in done])
    for (task_id, _), sights in seen.items():
        sights.sort(key=lambda sight: sight[1])
        for (_, a, status, fence), (b, _, later, later_fence) in pairwise(sights):
            if b < a:
                continue
            if status in TERMINAL and later != status:
                yield f"{task_id} was {status}, and {later} later"
            elif later_fence < fence:
                yield f"{task_id}: its fence was {fence}, and {later_fence} later"


def _see(
    view: View,
    seen: dict[tuple[str, int], list[tuple[float, float, str, int]]],
    event: h.HistoryEvent,
    states: Sequence[tuple[str, str, int]],
) -> None:
    era = view.era(event.b, event.a)
    if era is not None:
        for task_id, status, fence in states:
            seen[task_id, era].append((event.b, event.a, status, fence))


def one_valid_lease_at_a_time(view: View, rules: Rules) -> Iterator[str]:
    """I7: a task is claimed again after the lease has ended by Redis's clock, or after its end or return."""
    for task_id, leases in view.leases.items():
        for before, after in pairwise(leases):
            era = view.era(before.b, before.a)
            if era is None or view.era(after.b, after.a) != era:
                continue
            given_up = view.given_up.get((task_id, before.fence))
            if given_up is not None and view.redis_ms(given_up) <= after.started_ms + SLACK_MS:
                continue
            early = _deadline_ms(view, rules, before, after) - after.started_ms
            if early > SLACK_MS:
                yield f"{task_id} was claimed again {early:.0f} ms before its lease ended"


def _deadline_ms(view: View, rules: Rules, lease: Lease, until: Lease) -> float:
    """Return the earliest time at which a lease can have ended, as it was extended before the next claim."""
    deadline = lease.started_ms + rules.lease * 1000
    for one in view.extensions.get(lease.id, ()):
        if one.fence == lease.fence and one.accepted and view.redis_ms(one.a) < until.started_ms:
            deadline = max(deadline, view.redis_ms(one.b) + rules.lease * 1000)
    return deadline


def repeats_have_a_cause(view: View, rules: Rules) -> Iterator[str]:
    """I8: a task runs again only after a retry, a return of what had begun, or a fault that can cause it."""
    for task_id, starts in view.starts.items():
        for fence, count in Counter(start.fence for start in starts).items():
            if count > 1:
                yield f"{task_id} was begun {count} times under fence {fence}"
        for before, after in pairwise(starts):
            if not _repeat_explained(view, before, after):
                yield f"{task_id} was run again (attempts {before.attempt} and {after.attempt}) without a cause"


def _repeat_explained(view: View, before: h.Started, after: h.Started) -> bool:
    returned = any(
        one.fence == before.fence and one.about in ("child_died", "handed_back")
        for one in view.releases.get(before.id, ())
    )
    # A store may forget the claim of a run that begins only after it is back.
    since = min([before.b, after.b, *(one.b for one in view.leases.get(before.id, ()) if one.fence == before.fence)])
    return (
        view.retried(before)
        or returned
        or any(
            fault.b <= max(before.a, after.a) and fault.a >= since and {"*", before.worker} & set(fault.repeats)
            for fault in view.of(h.Fault)
        )
    )


def counters_are_right(view: View, rules: Rules) -> Iterator[str]:
    """I9: the counters of unfinished records are those of the records, the totals of ends too (none has expired)."""
    for freeze in view.of(h.Freeze):
        found: Counter[str] = Counter()
        for record in freeze.records.values():
            found[f":{record.status}" if record.status in TERMINAL else f"default:{record.status}"] += 1
        for name in sorted(found.keys() | freeze.counts.keys()):
            told = freeze.counts.get(name, 0)
            if told != found[name]:
                yield f"the counter {name or '-'} says {told}, the records {found[name]}"


def poison_is_bounded(view: View, rules: Rules) -> Iterator[str]:
    """I10: a run is lost at most one time more than the limit; then its record has failed with a reason."""
    for freeze in view.of(h.Freeze):
        for task_id, record in freeze.records.items():
            if record.lost > rules.lost_limit + 1:
                yield f"{task_id} was lost {record.lost} times"
            elif record.lost > rules.lost_limit and (record.status != "failed" or not record.error):
                yield f"{task_id} was lost {record.lost} times and is {record.status}"


def every_message_is_dealt_with(view: View, rules: Rules) -> Iterator[str]:
    """I12: at the end the group has settled the whole topic, and what cannot be read is among the dead letters."""
    topics, groups = view.of(h.Topic), view.of(h.Group)
    if not topics or not groups:
        return
    topic, committed = topics[-1], {(one.queue, one.partition): one.offset for one in groups[-1].offsets}
    for end in topic.ends:
        if committed.get((end.queue, end.partition), 0) < end.offset:
            settled = committed.get((end.queue, end.partition), 0)
            yield f"{end.queue}/{end.partition} is settled up to {settled} of {end.offset}"
    # A task that was cancelled before a worker found its message needs no answer.
    asked = view.cancels.keys() | {one.id for event in view.of(h.Claimed) for one in event.got}
    for message in topic.messages:
        if message.id and message.id not in asked:
            yield f"the message of {message.id} at {message.queue}/{message.partition}:{message.offset} had no answer"
    unreadable = sum(1 for message in topic.messages if not message.id)
    if len(topic.dead) < unreadable:
        yield f"{unreadable} messages cannot be read, {len(topic.dead)} are among the dead letters"


def a_refusal_is_final(view: View, rules: Rules) -> Iterator[str]:
    """I13: a refused task never runs."""
    for task_id, outcome in view.outcomes.items():
        if outcome == "fail" and view.starts.get(task_id):
            yield f"the submit of {task_id} was refused, and it ran"


def results_are_right(view: View, rules: Rules) -> Iterator[str]:
    """I14: every task ends as its kind does, unless the history tells why not; every result is what it computes."""
    for task_id, record in view.final.records.items() if view.final else ():
        submit = view.submits.get(task_id)
        if submit is None:
            continue
        if record.status in TERMINAL - expected(submit.task) and not _end_explained(view, rules, task_id, record):
            yield f"{task_id}: {submit.task} ended as {record.status}: {record.error:.80}"
        elif record.status == "success" and json.loads(record.result) != (wanted := _wanted(submit)):
            yield f"{task_id}: {submit.task}{submit.arguments} is {wanted}, its record says {record.result:.80}"


def _end_explained(view: View, rules: Rules, task_id: str, record: h.RecordRow) -> bool:
    cancelled = record.status == "cancelled" and task_id in view.cancels
    poison = record.status == "failed" and record.lost > rules.lost_limit
    return cancelled or poison


def _wanted(submit: h.Submit) -> object:
    return result(submit.task, submit.arguments)


def one_effect_wins(view: View, rules: Rules) -> Iterator[str]:
    """I16: the ledger holds the effect of the run whose end was accepted, and never took a lower fence."""
    taken: dict[str, int] = {}
    for effect in view.of(h.Effect):
        if effect.taken:
            if effect.fence < taken.get(effect.id, 0):
                yield f"{effect.id}: the ledger took fence {effect.fence} after {taken[effect.id]}"
            taken[effect.id] = max(effect.fence, taken.get(effect.id, 0))
    if view.losses:
        return  # a run that the store forgot may have written last
    for task_id, fence in taken.items():
        record = view.final.records.get(task_id) if view.final else None
        if record is not None and record.status == "success" and record.fence != fence:
            yield f"{task_id}: the ledger has the effect of fence {fence}, the record that of {record.fence}"


def what_is_accepted_is_with_the_broker(view: View, rules: Rules) -> Iterator[str]:
    """I19: when a submit returned the broker had the message: it is what I1 rests on."""
    for submitted in view.of(h.Submitted):
        by_hand = submitted.who == "harness"
        if submitted.outcome == "ok" and not by_hand and view.with_broker.get(submitted.id, math.inf) > submitted.a:
            yield f"{submitted.id} was accepted before the broker had acknowledged it"


INVARIANTS: dict[str, Rule] = {
    "I1": every_accepted_task_ends_once,
    "I2": only_the_newest_fence_counts,
    "I3": nothing_is_committed_early,
    "I4": nothing_is_invented,
    "I5": each_unfinished_record_is_in_one_index,
    "I6": ended_is_ended,
    "I7": one_valid_lease_at_a_time,
    "I8": repeats_have_a_cause,
    "I9": counters_are_right,
    "I10": poison_is_bounded,
    "I11": lost_runs_start_again_soon,
    "I12": every_message_is_dealt_with,
    "I13": a_refusal_is_final,
    "I14": results_are_right,
    "I15": work_goes_on,
    "I16": one_effect_wins,
    "I17": memory_is_bounded,
    "I18": a_told_end_is_orderly,
    "I19": what_is_accepted_is_with_the_broker,
}


def check(events: Sequence[h.Known], rules: Rules) -> dict[str, list[str]]:
    """Return what each invariant has to say against a history; empty where all hold."""
    view = View(events)
    said = {name: list(rule(view, rules)) for name, rule in INVARIANTS.items()}
    return {name: sentences for name, sentences in said.items() if sentences}

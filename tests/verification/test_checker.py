"""The checker says nothing against a good history, and notices each way in which one can be spoilt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec import structs

from verification.faults import history as h
from verification.faults.checker import INVARIANTS, check
from verification.faults.good import CANCELLED, FAILED, HANDED, KILLED, PLAIN, REFUSED, RETRIED, RULES, UNKNOWN, good
from verification.faults.view import LOG_LOST

E = TypeVar("E", bound=h.HistoryEvent)
Spoil = Callable[[list[h.Known]], list[h.Known]]


def changed(kind: type[E], change: Callable[[E], E | None], which: Callable[[E], bool] = lambda _: True) -> Spoil:
    """Change each event of a kind for which `which` says yes; None takes it away."""

    def spoil(events: list[h.Known]) -> list[h.Known]:
        spoilt: list[h.Known] = []
        hit = False
        for event in events:
            if isinstance(event, kind) and which(event):
                hit = True
                if (other := change(event)) is not None:
                    spoilt.append(other)  # type: ignore[arg-type]
            else:
                spoilt.append(event)
        assert hit, "nothing to spoil"
        return spoilt

    return spoil


def moved(kind: type[E], seconds: float, which: Callable[[E], bool] = lambda _: True) -> Spoil:
    """Move events in time."""
    return changed(kind, lambda event: structs.replace(event, b=event.b + seconds, a=event.a + seconds), which)


def added(make: Callable[[Sequence[h.Known]], h.Known]) -> Spoil:
    """Add an event."""
    return lambda events: [*events, make(events)]


def record(task_id: str, *, final: bool = True, **changes: object) -> Spoil:
    """Change a record in the final dump, or in all."""

    def change(freeze: h.Freeze) -> h.Freeze:
        one = freeze.records[task_id]._replace(**changes)  # type: ignore[arg-type]
        return structs.replace(freeze, records=freeze.records | {task_id: one})

    return changed(h.Freeze, change, lambda freeze: task_id in freeze.records and (freeze.final or not final))


def last(events: Sequence[h.Known], kind: type[E], which: Callable[[E], bool] = lambda _: True) -> E:
    """Return the last event of a kind."""
    return next(event for event in reversed(events) if isinstance(event, kind) and which(event))


def of(task_id: str) -> Callable[[h.Finished | h.Claimed | h.Released | h.Created], bool]:
    """Say whether a batch of one is about this task."""
    return lambda event: event.got[0].id == task_id


def run_of(task_id: str, attempt: int) -> Callable[[h.Started], bool]:
    """Say whether this is that run."""
    return lambda event: event.id == task_id and event.attempt == attempt


def finish_again(status: str) -> Spoil:
    """The plain task ends a second time."""

    def make(events: Sequence[h.Known]) -> h.Finished:
        end = last(events, h.Finished, of(PLAIN))
        got = [end.got[0]._replace(about=status)]
        return structs.replace(end, b=end.b + 0.5, a=end.a + 0.5, got=got)

    return added(make)


def without_final(task_id: str) -> Spoil:
    """A record is not there at the end; the counters know."""

    def change(freeze: h.Freeze) -> h.Freeze:
        records = {one: row for one, row in freeze.records.items() if one != task_id}
        counts = freeze.counts | {":success": freeze.counts[":success"] - 1}
        return structs.replace(freeze, records=records, counts=counts)

    return changed(h.Freeze, change, lambda freeze: freeze.final)


def accepted_zombie(event: h.Finished) -> h.Finished:
    return structs.replace(event, got=[event.got[0]._replace(code="ok")])


def with_fence(fence: int) -> Callable[[h.Claimed], h.Claimed]:
    return lambda event: structs.replace(event, got=[event.got[0]._replace(fence=fence)])


def stuck_open(freeze: h.Freeze) -> h.Freeze:
    return structs.replace(freeze, indexes=freeze.indexes | {PLAIN: ["open"]})


def twice_listed(freeze: h.Freeze) -> h.Freeze:
    return structs.replace(freeze, indexes={task_id: ["open", "ready:default"] for task_id in freeze.indexes})


def nothing_open(freeze: h.Freeze) -> h.Freeze:
    return structs.replace(freeze, indexes={})


def drifted(freeze: h.Freeze) -> h.Freeze:
    return structs.replace(freeze, counts=freeze.counts | {":success": 99})


def ghost(freeze: h.Freeze) -> h.Freeze:
    one = freeze.records[PLAIN]
    counts = freeze.counts | {":success": freeze.counts[":success"] + 1}
    return structs.replace(freeze, records=freeze.records | {PLAIN.replace("0000", "1111", 1): one}, counts=counts)


def second_run_of_plain(events: Sequence[h.Known]) -> h.Started:
    first = last(events, h.Started, run_of(PLAIN, 1))
    return structs.replace(first, b=first.b + 0.1, a=first.a + 0.1, attempt=2, fence=first.fence + 5)


def same_fence_twice(events: Sequence[h.Known]) -> h.Started:
    return structs.replace(last(events, h.Started, run_of(KILLED, 2)), b=104.9, a=104.9)


def refused_ran(events: Sequence[h.Known]) -> h.Started:
    return structs.replace(last(events, h.Started), id=REFUSED)


def lower_effect(events: Sequence[h.Known]) -> h.Effect:
    effect = last(events, h.Effect)
    return structs.replace(effect, b=effect.b + 1, a=effect.a + 1, fence=effect.fence - 1)


def newer_effect(events: Sequence[h.Known]) -> h.Effect:
    effect = last(events, h.Effect)
    return structs.replace(effect, b=effect.b + 1, a=effect.a + 1, fence=effect.fence + 1)


def backwards(events: Sequence[h.Known]) -> h.Read:
    end = last(events, h.Finished, of(PLAIN))
    return h.Read("client", end.a + 1, end.a + 1.1, [(PLAIN, "processing", 1, end.got[0].fence)])


def lower_fence_read(events: Sequence[h.Known]) -> h.Read:
    claim = last(events, h.Claimed, of(KILLED))
    return h.Read("client", claim.a + 0.001, claim.a + 0.002, [(KILLED, "processing", 2, claim.got[0].fence - 1)])


def unreadable(topic: h.Topic) -> h.Topic:
    return structs.replace(topic, messages=[*topic.messages, h.Stored("default", 0, 99, "")], dead=[])


def unanswered(topic: h.Topic) -> h.Topic:
    stranger = PLAIN.replace("0000", "2222", 1)
    return structs.replace(topic, messages=[*topic.messages, h.Stored("default", 0, 99, stranger)])


def longer(topic: h.Topic) -> h.Topic:
    return structs.replace(topic, ends=[h.Offset("default", 0, 1000)])


def without_a_position(event: h.Published) -> h.Published:
    return structs.replace(event, got=[(event.got[0][0], "")])


def others_submit(event: h.Submit) -> h.Submit:
    return structs.replace(event, task="faults.hopeless")


def published(event: h.Published) -> bool:
    return event.got[0][0] == PLAIN and not event.dead


SPOILT: dict[str, tuple[str, Spoil]] = {
    "a task is lost": ("I1", without_final(PLAIN)),
    "a task never ends": ("I1", record(PLAIN, status="queued")),
    "a task ends twice": ("I1", finish_again("success")),
    "a submit does not wait for the broker": ("I19", moved(h.Published, 0.5, published)),
    "a submit goes without the broker": ("I19", changed(h.Published, lambda _: None, published)),
    "a submit is acknowledged nowhere": ("I19", changed(h.Published, without_a_position, published)),
    "there is no final dump": ("I1", changed(h.Freeze, lambda _: None, lambda freeze: freeze.final)),
    "a zombie's outcome is accepted": (
        "I2",
        changed(h.Finished, accepted_zombie, lambda one: one.got[0].code == "fenced"),
    ),
    "a zombie's lease is extended": ("I2", moved(h.Extended, 3.7)),
    "a fence falls": ("I2", changed(h.Claimed, with_fence(7), lambda one: one.got[0].attempt == 2 and of(HANDED)(one))),
    "a fence is given twice": (
        "I2",
        added(lambda events: structs.replace(last(events, h.Claimed, of(KILLED)), nonce="other")),
    ),
    "a record has another fence than its end": ("I2", record(HANDED, fence=12)),
    "a worker commits early": ("I3", moved(h.Committing, -3.0)),
    "the broker has an early commit": ("I3", moved(h.Group, -3.0)),
    "a settled message was never settled": (
        "I3",
        changed(h.Claimed, lambda _: None, lambda one: one.got[0].verdict == "done"),
    ),
    "a record was never submitted": ("I4", changed(h.Freeze, ghost, lambda freeze: freeze.final)),
    "a record is of another task": ("I4", record(PLAIN, task="faults.add")),
    "a record has other arguments": ("I4", record(PLAIN, digest="other")),
    "an ended task is still open": ("I5", changed(h.Freeze, stuck_open, lambda freeze: freeze.final)),
    "an ended task is open for a while": ("I5", changed(h.Freeze, stuck_open, lambda freeze: not freeze.final)),
    "an unfinished task is in no index": ("I5", changed(h.Freeze, nothing_open, lambda freeze: not freeze.final)),
    "an unfinished task is in two indexes": ("I5", changed(h.Freeze, twice_listed, lambda freeze: not freeze.final)),
    "a dead letter is never acknowledged": (
        "I5",
        changed(
            h.Freeze, lambda freeze: structs.replace(freeze, indexes={FAILED: ["open"]}), lambda freeze: freeze.final
        ),
    ),
    "a state goes backwards": ("I6", added(backwards)),
    "an end becomes another": ("I6", record(RETRIED, status="failed", result="", error="{}")),
    "a reader sees a fence go down": ("I6", added(lower_fence_read)),
    "a live lease is taken": ("I7", changed(h.Asked, lambda _: None, lambda one: one.runs[0][0] == HANDED)),
    "an extension is not heeded": ("I7", moved(h.Extended, 1.5)),
    "a run is repeated without a fault": ("I8", changed(h.Fault, lambda _: None)),
    "a run is repeated for another worker's fault": (
        "I8",
        changed(h.Fault, lambda fault: structs.replace(fault, repeats=("w9",))),
    ),
    "a run is repeated without a retry": ("I8", added(second_run_of_plain)),
    "a lease is run twice": ("I8", added(same_fence_twice)),
    "the release of a run is missing": ("I8", changed(h.Released, lambda _: None)),
    "a counter drifts": ("I9", changed(h.Freeze, drifted, lambda freeze: freeze.final)),
    "a counter drifts for a while": ("I9", changed(h.Freeze, drifted, lambda freeze: not freeze.final)),
    "poison runs on": ("I10", record(KILLED, lost=5)),
    "poison succeeds": ("I10", record(KILLED, lost=4)),
    "a lost run starts late": ("I11", moved(h.Started, 4.0, run_of(KILLED, 2))),
    "a message has no answer": ("I12", changed(h.Topic, unanswered)),
    "the group stays behind": ("I12", changed(h.Topic, longer)),
    "rubbish is passed over": ("I12", changed(h.Topic, unreadable)),
    "a refused submit runs": ("I13", added(refused_ran)),
    "a result is wrong": ("I14", record(PLAIN, result="10")),
    "a result is another task's": ("I14", record(UNKNOWN, result="[1,5]")),
    "a good task fails": ("I14", record(PLAIN, status="failed", result="", error="{}")),
    "a good task is cancelled without a request": ("I14", record(PLAIN, status="cancelled", result="")),
    "a cancelled task was not": ("I14", changed(h.Cancelled, lambda _: None)),
    "what always fails succeeds": ("I14", changed(h.Submit, others_submit, lambda event: event.id == PLAIN)),
    "nothing finishes for long": ("I15", moved(h.Finished, 30.0, of(HANDED))),
    "the ledger takes a lower fence": ("I16", added(lower_effect)),
    "a fenced run's effect wins": ("I16", added(newer_effect)),
    "a worker swells": ("I17", changed(h.Memory, lambda one: structs.replace(one, resident=10**9))),
    "a worker ends badly": ("I18", changed(h.Exited, lambda one: structs.replace(one, code=1))),
    "a released run waits too long": ("I18", moved(h.Started, 2.5, run_of(HANDED, 2))),
}


def test_nothing_is_said_against_a_good_history() -> None:
    assert check(good(), RULES) == {}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_history_is_noticed(name: str) -> None:
    invariant, spoil = SPOILT[name]
    said = check(spoil(good()), RULES)
    assert invariant in said, said
    assert all(said[invariant])


def test_every_invariant_is_spoilt_by_a_test() -> None:
    assert {invariant for invariant, _ in SPOILT.values()} == set(INVARIANTS)


def test_a_cancelled_task_may_not_have_run_and_is_no_complaint() -> None:
    assert all(CANCELLED not in sentence for each in check(good(), RULES).values() for sentence in each)


def test_a_total_loss_of_the_store_may_repeat_ended_tasks() -> None:
    """Only with the loss in the history is a second end forgiven."""
    events = finish_again("success")(good())
    end = last(events, h.Finished, of(PLAIN))
    loss = h.Fault("harness", end.b - 0.3, end.b - 0.2, "lost", ("*",), loses=True)
    assert "I1" in check(events, RULES)
    assert "I1" not in check([*events, loss], RULES)


def forgotten(before: float) -> list[h.Known]:
    """Return a history without the plain task's record, and with a loss of the store `before` seconds after it."""
    events = without_final(PLAIN)(good())
    at = last(events, h.Finished, of(PLAIN)).a + before
    return [*events, h.Fault("harness", at, at + 0.01, "lost", ("*",), loses=True)]


def test_only_tasks_that_ended_long_before_a_total_loss_may_be_gone() -> None:
    """A task that ended within two heartbeats of the loss runs again. A loss of a second keeps older records."""
    everything = structs.replace(RULES, forgets=True)
    assert "I1" not in check(forgotten(2.5), everything)
    assert "I1" in check(forgotten(1.5), everything)
    assert "I1" in check(forgotten(2.5), RULES)


def test_a_loss_before_the_end_of_a_task_is_no_reason_for_its_record_to_be_gone() -> None:
    assert "I1" in check(forgotten(-0.5), structs.replace(RULES, forgets=True))


def heard_of_a_loss(at: float, *, says: float) -> list[h.Known]:
    """The store has lost its last moments at a time, and the worker that commits has heard of it then."""
    loss = h.Fault("harness", at, at + 1.0, "lost", ("*",), loses=True)
    return [*good(), loss, h.Epochs("w2", says, says + 0.002, ["other"])]


def test_messages_settled_in_a_lost_life_are_settled_again_before_a_commit() -> None:
    commit = last(good(), h.Committing)
    end = last(good(), h.Finished, of(PLAIN))
    lost = heard_of_a_loss(end.b - 0.1, says=commit.b - 1.5)
    assert "I3" in check(lost, RULES)
    settled_again = structs.replace(end, b=commit.b - 0.2, a=commit.b - 0.1, got=[end.got[0]._replace(code="already")])
    assert "again after loss" not in " ".join(check([*lost, settled_again], RULES).get("I3", ()))
    assert "I3" not in check(heard_of_a_loss(end.b - 0.1, says=commit.b - 0.5), RULES), "it has just heard of it"


def test_messages_settled_long_before_a_total_loss_are_not_read_again() -> None:
    """But what ended within two heartbeats of the loss is."""
    everything = structs.replace(RULES, forgets=True)
    commit = last(good(), h.Committing)
    end = last(good(), h.Finished, of(RETRIED))
    assert "I3" not in check(heard_of_a_loss(end.a + 2.2, says=commit.b - 1.2), everything)
    lately = heard_of_a_loss(end.a + 1.0, says=commit.b - 1.2)
    assert "I3" in check(lately, everything)
    assert "I3" not in check(lately, RULES), "a loss of a moment keeps older records"


def test_a_commit_past_a_message_of_a_newer_format_needs_its_record() -> None:
    """The record keeps the message for a newer worker: without one, the worker must not commit past the message."""
    commit, end = last(good(), h.Committing), last(good(), h.Finished, of(PLAIN))
    unanswered = [event for event in good() if event != end]
    left = h.Left("w2", end.b, end.a, [PLAIN])
    assert "I3" in check(unanswered, RULES)
    assert "I3" not in check([*unanswered, left], RULES)
    without_record = [one for one in unanswered if not (isinstance(one, h.Created) and one.got[0].id == PLAIN)]
    assert "I3" in check([*without_record, left], RULES)
    assert "I3" in check([*unanswered, structs.replace(left, a=commit.a + 1.0)], RULES)


def test_an_offset_that_the_broker_gave_twice_says_nothing_of_the_commits_beyond_it() -> None:
    """A consumer beyond the offset does not read its second message, and the sweep publishes it again."""
    commit = last(good(), h.Committing)

    def second(topic: h.Topic) -> h.Topic:
        first, *others = topic.messages
        return structs.replace(topic, messages=[first._replace(id=REFUSED), *others])

    again = h.Published("w2", commit.a + 0.2, commit.a + 0.3, [(REFUSED, "0:0")])
    events = [*changed(h.Topic, second)(good()), again]
    lost = h.Fault("harness", commit.a + 0.05, commit.a + 0.1, LOG_LOST)
    assert "I3" in check(events, RULES)
    assert "I3" not in check([*events, lost], RULES)


def test_a_cancel_and_too_many_losses_are_reasons_to_end_otherwise() -> None:
    assert "I14" not in check(record(PLAIN, status="failed", lost=RULES.lost_limit + 1)(good()), RULES)
    cancelled = [*good(), h.Cancelled("client", 101.0, 101.1, [(PLAIN, "requested")])]
    assert "I14" not in check(record(PLAIN, status="cancelled")(cancelled), RULES)


def test_a_task_claimed_before_its_submit_returned_needs_no_acknowledgement() -> None:
    """A repeated submit, whose first one's acknowledgement was lost, finds its message with the broker."""
    gone = changed(h.Published, lambda _: None, published)(good())
    assert "I19" in check(gone, RULES)
    late = changed(h.Submitted, lambda one: structs.replace(one, a=one.a + 0.2), lambda one: one.id == PLAIN)
    assert "I19" not in check(late(gone), RULES)


def test_where_nothing_is_to_be_done_nothing_need_finish() -> None:
    """The last task is submitted long after the others have ended."""
    begun = next(event for event in good() if isinstance(event, h.Submit) and event.id == HANDED)

    def later(event: h.Known) -> h.Known:
        idle = 30.0 if event.b >= begun.b else 0.0
        return structs.replace(event, b=event.b + idle, a=event.a + idle)

    assert "I15" not in check([later(event) for event in good()], RULES)


def test_a_claim_that_the_store_forgot_is_a_cause_though_its_run_began_later() -> None:
    events = added(second_run_of_plain)(good())
    claim = next(event for event in events if isinstance(event, h.Claimed) and event.got[0].id == PLAIN)
    begun = last(events, h.Started, run_of(PLAIN, 1))
    loss = h.Fault("harness", claim.b - 0.001, claim.a, "lost", ("*",), loses=True)
    assert loss.a < begun.b
    assert "I8" in check(events, RULES)
    assert "I8" not in check([*events, loss], RULES)


def test_a_retry_whose_answer_was_lost_is_a_cause_and_a_refused_one_is_none() -> None:
    """Sent again it was refused, as the first had been taken: that may be only where answers were lost."""

    def refused(event: h.Finished) -> h.Finished:
        return structs.replace(event, got=[event.got[0]._replace(code="fenced")])

    events = changed(h.Finished, refused, lambda one: one.got[0].about == "scheduled")(good())
    end = last(events, h.Finished, of(RETRIED))
    asked = next(event for event in events if isinstance(event, h.Asked) and event.runs[0][0] == RETRIED)
    assert end.a > asked.a
    fault = h.Fault("harness", asked.b, asked.b + 0.001, "replies lost")
    assert "I8" in check(events, RULES)
    assert "I8" not in check([*events, fault], RULES)


def test_a_history_is_read_as_it_was_written_but_for_torn_lines(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    writer = h.Writer(file, "me")
    for event in good():
        writer.write(event)
    whole = file.read_bytes()
    assert h.read(file) == (good(), 0)
    file.write_bytes(whole[:-40])
    writer.write(good()[0])
    writer.close()
    assert h.read(file) == ([*good()[:-1], good()[0]], 1)

"""Values into arguments, replies into values: pure, and exact to the byte."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq_core.backends.redis import script_io
from yadtq_core.backends.redis.decoding import (
    counts_of,
    epoch_of,
    history_line,
    record_of,
    worker_fields,
    worker_of,
)
from yadtq_core.backends.redis.keys import ID_LENGTH, Keys
from yadtq_core.backends.redis.scripts import ALL
from yadtq_core.model import (
    Attempt,
    Counts,
    CreateCode,
    Due,
    Epoch,
    Error,
    ExtendCode,
    FinishCode,
    Outcome,
    Past,
    Placed,
    Release,
    ReleaseReason,
    Status,
    Submission,
    Verdict,
    WorkerIdentity,
    WorkerStats,
    new_id,
)
from yadtq_core.model.terms import milliseconds
from yadtq_core.wire import envelope
from yadtq_core.wire.envelope import delivery_of

ID = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, 0), (-1.0, 0), (0.0001, 1), (0.0015, 2), (15.0, 15_000), (86400.0, 86_400_000)]
)
def test_durations_become_milliseconds_and_never_nothing(seconds: float, expected: int) -> None:
    assert milliseconds(seconds) == expected


def test_ids_can_be_read_off_the_end_of_every_key() -> None:
    keys = Keys("main", 2).shards[1]
    assert keys.tasks([ID]) == [f"yadtq:{{main:1}}:task:{ID}"]
    assert keys.messages([ID])[0][-ID_LENGTH:] == ID == keys.tasks([ID])[0][-ID_LENGTH:]


def test_each_script_is_one_constant_text_with_its_first_line_first() -> None:
    for script in ALL:
        lines = script.source.split("\n")
        assert lines[0].startswith("#!lua")
        assert lines[1].startswith("-- The beginning of every script")
        assert len(script.sha) == 40
        assert "tostring(" not in script.source.replace("or tostring(failure)", "")
        assert "cjson" not in script.source


def test_new_records_share_one_answer() -> None:
    found = script_io.created_in(
        [5, 0, 1, 1, 2, [1, 4, b"success", 1], [0, 4, b"queued", 0], [1, 4, b"sleeping", 0], b"ERR"]
    )
    assert found[0] is found[1]
    assert [one.published for one in script_io.created_in([5, 1, 1, 2])] == [True, False]
    assert [(one.code, one.status, one.published) for one in found] == [
        (CreateCode.NEW, Status.QUEUED, False),
        (CreateCode.NEW, Status.QUEUED, False),
        (CreateCode.NEW, Status.SCHEDULED, False),
        (CreateCode.EXISTS, Status.SUCCESS, True),
        (CreateCode.CONFLICT, Status.QUEUED, False),
        (CreateCode.EXISTS, Status.FAILED, False),
        (CreateCode.CONFLICT, Status.FAILED, False),
    ]


def test_answers_are_short_where_they_are_usual() -> None:
    answer = [7_000, 7_000_001, [], 1, 3, 1, 0, -2, -3, -4, [1, 99, 2, 0, 1, 6_000], [2, 0, 1, 40, 0, 0], b"WRONGTYPE"]
    found = script_io.answers_in(answer)
    assert found[0] is found[2]
    assert (found[1].fence, found[1].attempt, found[1].started_at_ms) == (7_000_001, 3, 7_000)
    assert [one.verdict for one in found] == [
        *[Verdict.RUN] * 3,
        Verdict.DONE,
        Verdict.LATER,
        Verdict.TOO_OLD,
        Verdict.OFFERED,
        Verdict.RUN,
        Verdict.BUSY,
        Verdict.ERROR,
    ]
    assert (found[7].fence, found[7].lost, found[7].started_at_ms, found[8].wait_ms) == (99, 1, 6_000, 40)
    assert found[9].error == "record is damaged: WRONGTYPE"


def test_each_outcome_takes_six_arguments() -> None:
    common: dict[str, Any] = {"id": ID, "task": "add", "attempt": 1, "worker_id": "w", "queue": "q", "headers": {}}
    common |= {"submitted_at": 0.0, "started_at": 0.0, "duration": 0.0}
    outcomes = [
        Outcome(status=Status.SUCCESS, fence=1, result=b"1", content_type="application/json", **common),
        Outcome(status=Status.SUCCESS, fence=2, result=b"1", content_type="text/plain", **common),
        Outcome(status=Status.SUCCESS, fence=3, **common),
        Outcome(status=Status.CANCELLED, fence=4, **common),
        Outcome(status=Status.FAILED, fence=5, error=Error("E", "no"), **common),
        Outcome(status=Status.SCHEDULED, fence=6, retry_in=1.5, **common),
    ]
    out = script_io.outcomes_out(outcomes)
    rows = [out[start : start + 6] for start in range(0, len(out), 6)]
    assert rows[:3] == [[1, "s", b"1", b"", b"", 0], [2, "s", b"1", "text/plain", b"", 0], [3, "n", b"", b"", b"", 0]]
    assert [(row[0], row[1], row[5]) for row in rows[3:]] == [(4, "c", 0), (5, "f", 0), (6, "r", 1500)]
    assert rows[4][2:5] == [b'{"type":"E","message":"no"}', b"", b'{"worker_id":"w","reason":"E: no",']


def test_each_release_takes_seven_arguments() -> None:
    out = script_io.releases_out(
        [
            Release(ID, "default", 1, ReleaseReason.UNSTARTED),
            Release(ID, "default", 2, ReleaseReason.UNKNOWN_TASK, delay=1.0, note="unknown task"),
            Release(ID, "default", 3, ReleaseReason.CHILD_DIED, lost=True, note='killed "9"'),
            Release(ID, "default", 4, ReleaseReason.BINDING_FAILED, delay=5.0, note="left"),
        ],
        "w",
    )
    rows = [out[start : start + 7] for start in range(0, len(out), 7)]
    assert [row[:6] for row in rows] == [
        [1, "unstarted", 0, 0, "", b""],
        [2, "unknown_task", 1000, 0, "unknown task", b""],
        [3, "child_died", 0, 1, 'killed "9"', b'{"worker_id":"w","reason":"killed \\"9\\"",'],
        [4, "binding_failed", 5000, 0, "left", b""],
    ]
    assert [msgspec.json.decode(row[6])["type"] for row in rows] == [
        "WorkerLost",
        "UnknownTask",
        "WorkerLost",
        "WorkerLost",
    ]


@given(st.text(), st.text())
def test_any_reason_makes_a_line_that_can_be_read(worker_id: str, reason: str) -> None:
    try:
        line = history_line(worker_id, reason)
    except UnicodeEncodeError:
        return  # lone surrogates: no name and no message has any
    whole = line + b'"attempt":3,"ended_at":12.500}'
    assert b"\n" not in whole
    assert msgspec.json.decode(whole, type=Attempt) == Attempt(3, worker_id, 12.5, reason[:200])


def test_unknown_codes_are_errors() -> None:
    assert script_io.finished_in([1, 2, 3, 4, b"x"]) == [
        FinishCode.OK,
        FinishCode.ALREADY,
        FinishCode.FENCED,
        FinishCode.MISSING,
        FinishCode.ERROR,
    ]
    assert script_io.extended_in([1, 2, 3, b"x"]) == [
        ExtendCode.OK,
        ExtendCode.CANCEL,
        ExtendCode.LOST,
        ExtendCode.LOST,
    ]


def test_an_epochs_past_is_read_in_its_order() -> None:
    assert epoch_of([9, b"b", 8, b"a:0:0:5;b:7:1:9;"]) == Epoch("b", 8, (Past("a", 0), Past("b", 7)))
    assert epoch_of([9, b"b", 8, b""]) == Epoch("b", 8)


def test_counters_are_summed_over_shards_and_nothing_is_left_out() -> None:
    shards = [{b"default:queued": b"2", b":success": b"5"}, {b"default:queued": b"-2", b"fast:processing": b"1"}]
    assert counts_of(shards) == Counts({"fast": {"processing": 1}}, {"success": 5})


@given(st.dictionaries(st.sampled_from([b"st", b"tk", b"qu", b"sa", b"at", b"er", b"hi", b"dl"]), st.binary()))
def test_any_fields_of_a_record_can_be_shown(fields: dict[bytes, bytes]) -> None:
    record = record_of(ID, fields)
    assert (record is None) == (not fields)


@given(st.binary(), st.integers(0, 2**50))
def test_an_unreadable_message_of_a_script_is_skipped(body: bytes, submitted_at_ms: int) -> None:
    assert delivery_of(body, submitted_at_ms) is None


def test_a_row_that_cannot_be_read_is_no_worker() -> None:
    assert worker_of({}, 0, 1) is None
    assert worker_of({b"last_seen": b"x"}, 0, 1) is None


@pytest.mark.parametrize(
    ("position", "score"),
    [
        ("0:0", 0),
        ("3:41", 3 * 2**38 + 41),
        ("32767:274877906943", 2**53 - 1),
        ("32769:0", ""),
        ("1:274877906944", ""),
        ("2:1", ""),  # of another shard
        ("", ""),
        ("1", ""),
        ("1:2:3", ""),
        ("1:1755103784123-5", ""),
        ("1:-1", ""),
        ("\u0661:1", ""),
        ("1:1\n", ""),
    ],
)
def test_a_position_has_a_score_if_a_record_can_wait_there(position: str, score: int | str) -> None:
    shard = 0 if position == "0:0" else 1
    assert script_io.positions_out([Placed(ID, "default", position)], shard, 2) == [position, score]


def test_what_a_sweep_found_is_sorted() -> None:
    answer = [[], 2, 0, [1, b"a", b"default"], b"WRONGTYPE", [2, b"b", b"fast"], [3, b"c", b"default"]]
    reclaimed, failed = script_io.swept_in(list("vwxyz"), answer)
    assert reclaimed == [Due("w", "a", "default"), Due("z", "c", "default")]
    assert failed == [Due("y", "b", "fast"), Due("z", "c", "default")]


def test_a_row_of_an_older_worker_has_dropped_no_events() -> None:
    stats = WorkerStats("online", 3, 1, 2, 1, ("default",), ("add",), version="0.1", events_dropped=9)
    fields = list(map(str, worker_fields(WorkerIdentity("w", "i", "host", 1, 0.0), stats)))
    row = {name.encode(): value.encode() for name, value in zip(fields[::2], fields[1::2], strict=True)}
    row[b"last_seen"] = b"5"
    found = worker_of(row, 5, 1)
    assert found is not None
    assert found.stats == stats
    del row[b"events_dropped"]
    older = worker_of(row, 5, 1)
    assert older is not None
    assert older.stats.events_dropped == 0


def test_delays_of_submissions_travel_in_milliseconds() -> None:
    message = envelope.build("add", b"[[1],{}]", id=new_id())
    body = envelope.encode(message)
    assert script_io.submissions_out([Submission(message, body, 1.5)]) == ["add", "default", message.digest, 1500, body]

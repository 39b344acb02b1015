"""What is printed: nothing in it steers a terminal, and JSON stays JSON."""

from __future__ import annotations

import json
import logging

import pytest

from yadtq_core.cli import logs
from yadtq_core.cli.output import escape, to_json
from yadtq_core.cli.record import progress_text, say_record
from yadtq_core.model import Attempt, Error, Record, Status
from yadtq_core.plugin import load_plugins
from yadtq_core.settings import Settings

TASK_ID = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
PAYLOADS = load_plugins().payloads(Settings())

HOSTILE = "a\x1b[2J\x00\r\n\t\x7f\x9b\u202e\u2066\u2028\u200f\ufeff\ud800ü😀"
UNSAFE = [
    *map(chr, range(0x20)),
    "\x7f",
    *map(chr, range(0x80, 0xA0)),
    "\u202e",
    "\u2066",
    "\u2028",
    "\u2029",
    "\ud800",
]


def test_everything_that_steers_a_terminal_is_escaped() -> None:
    assert escape(HOSTILE) == (r"a\x1b[2J\x00\r\n\t\x7f\x9b\u202e\u2066\u2028\u200f\ufeff\ud800" + "ü😀")
    assert not set(UNSAFE) & set(escape("".join(UNSAFE)))


def test_json_is_one_line_of_printable_ascii_and_reads_back() -> None:
    value = {"text": HOSTILE, "number": 10**30, "list": [1.5, None, True]}
    line = to_json(value)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == value


def a_record(**changed: object) -> Record:
    fields: dict[str, object] = {
        "id": TASK_ID,
        "task": "add",
        "status": Status.SUCCESS,
        "queue": "default",
        "submitted_at": 1755103784.123,
        "content_type": "application/json",
        **changed,
    }
    return Record(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "lines"),
    [
        (a_record(result=b"6"), ["Status: success", "Result: 6"]),
        (a_record(result=b"null"), ["Status: success", "Result: null"]),
        (a_record(result=b'"\\u001b[2J\\n\xc3\xbc"'), ["Status: success", 'Result: "\\u001b[2J\\nü"']),
        (a_record(result='"\u202e"'.encode()), ["Status: success", 'Result: "\\u202e"']),
        (
            a_record(result=b"x"),
            ["Status: success", f"Error: SerializationError: the result of task {TASK_ID} is not JSON: "],
        ),
        (
            a_record(status=Status.FAILED, error=Error("ValueError", "no\x1b[2J")),
            ["Status: failed", "Error: ValueError: no\\x1b[2J"],
        ),
        (a_record(status=Status.QUEUED), ["Status: queued"]),
        (a_record(status=Status.QUEUED, note="no worker knows it"), ["Status: queued", "Note: no worker knows it"]),
        (
            a_record(status=Status.PROCESSING, progress="0.4 half\x1b way"),
            ["Status: processing", "Progress: 40 % half\\x1b way"],
        ),
    ],
)
def test_a_record_as_the_original_shows_it(
    record: Record, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    say_record(record, PAYLOADS)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"Task ID: {TASK_ID}"
    assert len(shown) == len(lines) + 1
    assert all(one.startswith(line) for one, line in zip(shown[1:], lines, strict=True))


def test_a_large_result_is_cut_unless_all_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    record = a_record(result=b'"' + b"x" * 5000 + b'"')
    say_record(record, PAYLOADS)
    assert "… (5002 characters; --full shows all)" in capsys.readouterr().out
    say_record(record, PAYLOADS, full=True)
    assert "x" * 5000 in capsys.readouterr().out


def test_everything_there_is_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    record = a_record(
        status=Status.FAILED,
        worker_id="w1",
        attempt=2,
        lost=1,
        started_at=1755103785.0,
        finished_at=1755103786.5,
        error=Error("ValueError", "no", "Traceback:\n  File \x1b"),
        history=(Attempt(1, "w0", 1755103784.5, "lease ended"),),
    )
    say_record(record, PAYLOADS, full=True)
    shown = capsys.readouterr().out
    for text in (
        "Task: add\n",
        "Queue: default\n",
        "Worker: w1\n",
        "Attempt: 2\n",
        "Lost runs: 1\n",
        "Duration: 1.500 s\n",
        "lease ended\n",
        "Traceback:\n  File \\x1b\n",
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("progress", "text"), [("0.4 half way", "40 % half way"), ("1", "100 %"), ("0.4", "40 %"), ("x y", "x y")]
)
def test_progress(progress: str, text: str) -> None:
    assert progress_text(progress) == text


@pytest.mark.parametrize("style", ["console", "json"])
def test_logs_are_escaped_lines_on_stderr(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    try:
        logs.set_up("info", style)
        logging.getLogger("yadtq.test").info("hello %s", "\x1b[2J\n", extra={"task_id": "x"})
        logging.getLogger("yadtq.test").debug("not this")
        logging.getLogger("kafka.client").error("nor this")
    finally:
        logging.getLogger().handlers[:] = before
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    if style == "json":
        told = json.loads(line)
        assert (told["level"], told["message"], told["task_id"]) == ("info", "hello \x1b[2J\n", "x")
    else:
        assert line.endswith(r" INFO hello \x1b[2J\n")

"""The command line without services: what it refuses and how, its exit codes, and what it does not import."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from yadtq_core import __version__
from yadtq_core.cli.app import run
from yadtq_core.cli.monitor import as_object, as_text
from yadtq_core.model import Counts, WorkerIdentity, WorkerRow, WorkerStats

ID = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
NOWHERE = "redis://127.0.0.1:1"


@pytest.fixture(autouse=True)
def a_folder_without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("YADTQ_BROKER", "YADTQ_BACKEND", "YADTQ_NAMESPACE", "WORKER_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["submit"], "name a task: yadtq submit add '[1, 2, 3]'; or give many with --batch FILE"),
        (["submit", "add", "[1,2,3"], "arguments are not JSON: expected ',' or ']' at column 7"),
        (["submit", "add"], "add needs a JSON array, got nothing; for example: yadtq submit add '[1, 2]'"),
        (["submit", "add", "[true]"], "add: element 0 is a boolean; use 1, not true"),
        (["submit", "sleep", "[-1]"], "sleep seconds must be 0..86400, got -1"),
        (["submit", "../../x", "[]"], "not a task name: '../../x';"),
        (["submit", "a\x1b[2J", "[]"], r"not a task name: 'a\x1b[2J';"),
        (["submit", "add", "[1]", "--retries", "1_0"], "--retries takes a whole number from 0 to 1000, got '1_0'"),
        (["submit", "add", "[1]", "--retries", "١٢"], "--retries takes a whole number from 0 to 1000, got '١٢'"),
        (["submit", "add", "[1]", "--retries", "9" * 5000], "--retries takes a whole number from 0 to 1000, got"),
        (["submit", "add", "[1]", "--delay=-5"], "--delay: not a duration: '-5'; use seconds or 500ms, 10m, 2h, 7d"),
        (["submit", "add", "[1]", "--delay", "400d"], "--delay takes 0 to 31536000 seconds, got '400d'"),
        (["submit", "add", "[1]", "--wait", "--timeout", "0"], "--timeout takes 0.001 to 315360000 seconds, got '0'"),
        (["submit", "add", "[1]", "--timeout", "5"], "--timeout goes with --wait"),
        (["submit", "add", "[1]", "--header", "a"], "--header takes name=value, got 'a'"),
        (["submit", "add", "[1]", "--queue", "A B"], "not a queue name: 'A B';"),
        (["submit", "add", "--batch", "x"], "--batch takes tasks and arguments from the file"),
        (["submit", "--batch", "x", "--wait"], "--wait is for one task; --batch submits many"),
        (["submit", "--batch", "nowhere.ndjson"], "--batch 'nowhere.ndjson': no such file or directory"),
        (["submit", "--batch", "."], "--batch '.': is a directory"),
        (["query", "x"], "not a task ID: 'x'; IDs look like "),
        (["query", f"{{{ID}}}"], f"not a task ID: '{{{ID}}}'; IDs look like "),
        (["cancel", f"urn:uuid:{ID}"], f"not a task ID: 'urn:uuid:{ID}'; IDs look like "),
        (["query", "*"], "not a task ID: '*'"),
        (["worker", "-c", "0"], "--processes takes a whole number from 1 to 256, got '0'"),
        (["worker", "--id", "a b"], "worker_id = 'a b'"),
        (["monitor", "--interval", "0"], "--interval takes 0.1 to 3600 seconds, got '0'"),
        (["provision", "--partitions", "0"], "--partitions takes a whole number from 1 to 4096, got '0'"),
        (["config", "--log-level", "loud"], "log_level is one of debug, info, warning, error, got 'loud'"),
        (["query", ID, "--backend", "mysql://x"], "no installed backend supports mysql://; known: "),
        (["task", "list", "ad"], "unknown task 'ad'; did you mean 'add'? known: add, mul"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("Error: ")
    assert text in line


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["sumbit"], ["Error: No such command 'sumbit'. Did you mean 'submit'?", "Try: yadtq --help"]),
        (["query"], ["Error: Missing argument 'ID…'.", "Try: yadtq query --help"]),
        (
            ["submit", "add", "[1]", "--priority", "3"],
            ["Error: No such option: --priority", "Try: yadtq submit --help"],
        ),
        (["task"], ["Error: Missing command.", "Try: yadtq task --help"]),
    ],
)
def test_bad_usage_is_two_lines_and_exit_2(
    arguments: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize("command", [["query", ID], ["monitor", "--once"], ["submit", "add", "[1]"]])
def test_a_service_that_is_away_is_exit_3(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--backend", NOWHERE]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {NOWHERE}")


def test_a_traceback_is_shown_only_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", "x"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    for arguments in (["--debug", "query", "x"], ["query", "x", "--debug"]):
        assert run(arguments) == 2
        assert "Traceback (most recent call last):" in capsys.readouterr().err


def test_debug_may_come_before_a_command_that_loads_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--debug", "config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_common_options_come_before_or_after_the_command_and_the_later_one_wins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (
        ["--namespace", "n1", "config", "--json"],
        ["config", "--json", "--namespace", "n1"],
        ["--namespace", "n0", "config", "--namespace", "n1", "--json"],
    ):
        assert run(arguments) == 0
        assert json.loads(capsys.readouterr().out)["namespace"] == "n1"


def test_config_shows_the_source_of_each_value_and_masks_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "yadtq.toml").write_text('namespace = "shop"\nimports = ["shop"]\n')
    monkeypatch.setenv("YADTQ_BACKEND", "redis://me:secret@host:6379/0")
    assert run(["config", "--origin", "--log-level", "error"]) == 0
    shown = capsys.readouterr().out
    assert f'namespace = "shop"  # {tmp_path / "yadtq.toml"}\n' in shown
    assert 'backend = "redis://me:***@host:6379/0"  # environment YADTQ_BACKEND\n' in shown
    assert 'log_level = "error"  # command line\n' in shown
    assert 'imports = ["shop"]' in shown
    assert "claim_stale_seconds = 15  # default\n" in shown
    assert "secret" not in shown


def test_config_as_text_is_a_settings_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "yadtq.toml").write_text(first)
    assert run(["config"]) == 0
    assert capsys.readouterr().out == first


def test_task_list_shows_plugins_modules_and_load_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "cli_shop.py").write_text(
        'print("imported")\n'
        "from yadtq_core import task\n"
        "@task(retries=5, version='2')\n"
        "async def mail(address: str) -> None:\n"
        '    "Send a mail.\\n\\n    At length."\n'
    )
    monkeypatch.setenv("YADTQ_IMPORTS", "cli_shop,cli_broken")
    assert run(["task", "list"]) == 0
    output = capsys.readouterr()
    assert output.err == "imported\n"
    assert (
        "cli_shop.mail(address: str) -> None  [version 2, async, retries 5]\n    Send a mail.\n    from module cli_shop"
        in output.out
    )
    assert "add(*numbers: int | float) -> int | float\n" in output.out
    assert "from yadtq-builtin-tasks " in output.out
    assert "cli_broken\n    Error: no module 'cli_broken' in " in output.out
    assert run(["task", "list", "cli_shop.mail", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "cli_shop.mail",
        "signature": "(address: str) -> None",
        "version": "2",
        "retries": 5,
        "async": True,
        "doc": "Send a mail.\n\n    At length.",
        "origin": "module cli_shop",
        "place": "cli_shop:mail",
        "error": None,
    }
    assert run(["task", "list", "cli_broken"]) == 2


def test_submit_refuses_arguments_that_the_annotations_do_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "cli_typed.py").write_text(
        "from datetime import date\nfrom yadtq_core import task\n"
        "@task\ndef ship(order: int, day: date, express: bool = False) -> None: ...\n"
    )
    monkeypatch.setenv("YADTQ_IMPORTS", "cli_typed")
    assert run(["submit", "cli_typed.ship", '{"order": "7", "day": "soon", "expres": true}']) == 2
    assert capsys.readouterr().err == (
        "Error: ship(order: int, day: datetime.date, express: bool = False): "
        "unexpected keyword argument 'expres' (did you mean 'express'?); order: expected int, got str; "
        "day: invalid RFC3339 encoded date\n"
    )


def a_worker(name: str, *, online: bool) -> WorkerRow:
    stats = WorkerStats("online", 3, 1, 2, 1, ("default",), ("add",), 1000, "0.1.0")
    return WorkerRow(WorkerIdentity(name, "abc", "host", 7, 1.5), stats, 1755103784.9, online)


def test_monitor_prints_exactly_the_original_s_text() -> None:
    counts = Counts({"default": {"queued": 0, "processing": 1}}, {"success": 4})
    assert as_text([a_worker("ID", online=True), a_worker("w\x1b", online=False)], counts).splitlines() == [
        "=== WORKERS ===",
        "worker:ID state online last_seen 1755103784 tasks_executed 3",
        r"worker:w\x1b state offline last_seen 1755103784 tasks_executed 3",
        "=== TASKS === {'queued': 0, 'processing': 1, 'success': 4, 'failed': 0}",
    ]


def test_monitor_appends_scheduled_and_cancelled_where_there_are_any() -> None:
    counts = Counts({"default": {"scheduled": 2}}, {"cancelled": 1})
    assert as_text([], counts).splitlines()[-1] == (
        "=== TASKS === {'queued': 0, 'processing': 0, 'success': 0, 'failed': 0, 'scheduled': 2, 'cancelled': 1}"
    )


def test_monitor_as_json() -> None:
    counts = Counts({"slow": {"queued": 5}, "default": {"processing": 1}}, {"failed": 2})
    assert as_object([a_worker("w1", online=True)], counts) == {
        "workers": [
            {
                "worker_id": "w1",
                "state": "online",
                "last_seen": 1755103784.9,
                "tasks_executed": 3,
                "running": 1,
                "incarnation": "abc",
                "host": "host",
                "pid": 7,
                "slots": 2,
                "free": 1,
                "queues": ("default",),
                "tasks": ("add",),
                "memory": 1000,
                "version": "0.1.0",
            }
        ],
        "tasks": {"queued": 5, "processing": 1, "success": 0, "failed": 2, "scheduled": 0, "cancelled": 0},
        "queues": [
            {"queue": "default", "queued": 0, "processing": 1, "scheduled": 0},
            {"queue": "slow", "queued": 5, "processing": 0, "scheduled": 0},
        ],
    }


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"yadtq {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [[], ["submit"], ["query"], ["cancel"], ["worker"], ["monitor"], ["provision"], ["config"], ["task", "list"]],
)
def test_every_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    assert f"yadtq {' '.join(command)}".strip() in capsys.readouterr().out.split("For example:")[1]


@pytest.mark.slow
def test_help_is_quick_and_loads_neither_kafka_nor_redis() -> None:
    """Quick by what it loads and by its seconds of CPU; a clock on the wall measures what else the machine does.

    (That only help looks for plugins' commands, and loads none, is for tests/unit/cli/test_commands.py.)
    """
    code = (
        "import sys; from yadtq_core.cli.app import run; run(['--help']); "
        "assert not {'kafka', 'redis', 'pydantic'} & set(sys.modules), sorted(sys.modules); "
        "assert len(sys.modules) < 540, sorted(sys.modules)"  # 492 on Python 3.11, 240 of them Python's own
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    times = []
    for _ in range(5):
        before = _cpu_of_children()
        subprocess.run(
            [sys.executable, "-c", "from yadtq_core.cli import main; main()", "--help"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        times.append(_cpu_of_children() - before)
    assert min(times) < 0.8, times


def _cpu_of_children() -> float:
    """Return the seconds of CPU of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_importing_the_library_loads_no_service_and_no_command_line() -> None:
    code = "import sys, yadtq_core; assert not {'kafka', 'redis', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    words = {"bash": {"COMP_WORDS": "yadtq sub", "COMP_CWORD": "1"}}.get(shell, {})
    words |= {"_TYPER_COMPLETE_ARGS": "yadtq sub", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-c", "from yadtq_core.cli import main; main()"],
        env={"_YADTQ_COMPLETE": f"complete_{shell}", **words},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "submit" in done.stdout

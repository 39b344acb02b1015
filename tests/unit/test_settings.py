"""Settings: where they come from, what is refused and in which words, and that no password is ever shown."""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq_core import settings as settings_module
from yadtq_core.errors import InvalidSetting
from yadtq_core.settings import ENVIRONMENT, Settings, default_worker_id, duration, load, masked_url, usable_cores


def loaded(tmp_path: Path, environment: dict[str, str] | None = None, **given: Any) -> Settings:
    return load(given, environment=environment or {}, folder=tmp_path).settings


def refusal(tmp_path: Path, environment: dict[str, str] | None = None, **given: Any) -> str:
    with pytest.raises(InvalidSetting) as caught:
        loaded(tmp_path, environment, **given)
    return str(caught.value)


# Where they come from


def test_defaults_need_nothing(tmp_path: Path) -> None:
    found, origins = load(environment={}, folder=tmp_path)
    assert found.claim_stale_seconds == 15.0
    assert found.processes == usable_cores()
    assert found.worker_id == default_worker_id()
    assert set(origins.values()) == {"default"}


def test_code_goes_over_environment_over_file_over_default(tmp_path: Path) -> None:
    (tmp_path / "yadtq.toml").write_text('namespace = "file"\nqueues = ["file"]\nthreads = 2\n')
    found, origins = load(
        {"namespace": "code", "threads": None},
        environment={"YADTQ_NAMESPACE": "env", "YADTQ_QUEUES": "env, other,"},
        folder=tmp_path,
    )
    assert (found.namespace, found.queues, found.threads, found.shards) == ("code", ("env", "other"), 2, 1)
    assert origins["namespace"] == "given"
    assert origins["queues"] == "environment YADTQ_QUEUES"
    assert origins["threads"] == str(tmp_path / "yadtq.toml")
    assert origins["shards"] == "default"


def test_the_nearest_file_counts_and_pyproject_only_with_a_table_of_ours(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.yadtq]\nthreads = 3\n")
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.ruff]\n")
    found, origins = load(environment={}, folder=inner)
    assert found.threads == 3
    assert origins["threads"] == f"{tmp_path / 'pyproject.toml'} [tool.yadtq]"
    (inner / "yadtq.toml").write_text("threads = 4")
    assert loaded(inner).threads == 4


def test_the_names_of_the_first_readme_work_and_yield_to_ours(tmp_path: Path) -> None:
    both = {"WORKER_ID": "old", "YADTQ_WORKER_ID": "new", "CLAIM_STALE_SECONDS": "30"}
    found = loaded(tmp_path, both)
    assert (found.worker_id, found.claim_stale_seconds) == ("new", 30.0)
    assert loaded(tmp_path, {"WORKER_ID": "old"}).worker_id == "old"


def test_an_empty_variable_is_as_good_as_none(tmp_path: Path) -> None:
    empty = dict.fromkeys([*ENVIRONMENT.values(), "WORKER_ID"], "")
    assert load(environment=empty, folder=tmp_path) == load(environment={}, folder=tmp_path)


def test_every_field_can_be_set_by_the_environment(tmp_path: Path) -> None:
    texts = {
        "broker": "kafka://h:1",
        "backend": "redis://h",
        "log_level": "debug",
        "log_format": "json",
        "result_ttl": "9",
    }
    environment = {variable: texts.get(name, "2") for name, variable in ENVIRONMENT.items()}
    origins = load(environment=environment, folder=tmp_path).origins
    assert origins == {name: f"environment {variable}" for name, variable in ENVIRONMENT.items()}


# What is refused


def test_a_typo_is_answered_with_the_setting_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "yadtq.toml").write_text("claim_stale_second = 5\n")
    assert refusal(tmp_path) == (
        f"unknown setting 'claim_stale_second' ({tmp_path / 'yadtq.toml'}): did you mean 'claim_stale_seconds'?"
    )
    (tmp_path / "yadtq.toml").unlink()
    assert "known: broker, backend" in refusal(tmp_path, xyz=1)


@pytest.mark.parametrize("value", ["0", "-1", "0.5", "abc", "1e9", "1e1", "", " ", "nan", "15 s", "\uff11\uff15", "9d"])
def test_a_lease_out_of_range_is_refused_by_name(tmp_path: Path, value: str) -> None:
    assert "claim_stale_seconds" in refusal(tmp_path, claim_stale_seconds=value)


@pytest.mark.parametrize("value", [0, -1, 0.5, 1e9, math.nan, math.inf, -math.inf, True, [15], {}])
def test_a_lease_out_of_range_is_refused_as_a_number_too(tmp_path: Path, value: Any) -> None:
    assert "claim_stale_seconds" in refusal(tmp_path, claim_stale_seconds=value)


@pytest.mark.parametrize("value", [0, -1, 257, 1.5, True, "auto", "1_0", "٣", "0x10", "+4", "9" * 5000])
def test_a_number_of_processes_that_is_none_is_refused(tmp_path: Path, value: Any) -> None:
    text = refusal(tmp_path, processes=value)
    assert text.startswith("processes")
    assert len(text) < 400


@pytest.mark.parametrize(
    "value", ["a b", "a\n", "\n", "\x1b[31m", "{}", "x" * 65, "x" * 1024, "-a", "ä", "a/b", "a:b", "a\x00"]
)
def test_a_worker_id_that_would_break_keys_or_terminals_is_refused(tmp_path: Path, value: str) -> None:
    text = refusal(tmp_path, {"WORKER_ID": value})
    assert text.startswith("worker_id = ")
    assert "(environment WORKER_ID)" in text
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize("value", ["Main", "main\n", "", "a b", "x" * 33, "ä", "{a}"])
def test_a_namespace_that_cannot_be_part_of_a_topic_is_refused(tmp_path: Path, value: str) -> None:
    assert refusal(tmp_path, namespace=value).startswith("namespace = ")


@pytest.mark.parametrize("value", ["A", "a b", ["ok", "b\n"], [""], [], "", 5, ["a"] * 65])
def test_queues_that_are_none_are_refused_by_name_and_origin(tmp_path: Path, value: Any) -> None:
    text = refusal(tmp_path, queues=value)
    assert text.startswith("queues = ")
    assert "(given)" in text


def test_a_value_outside_a_list_is_refused_with_the_list(tmp_path: Path) -> None:
    assert "log_level is one of debug, info, warning, error, got 'loud'" in refusal(tmp_path, log_level="loud")
    assert "log_format is one of console, json" in refusal(tmp_path, {"YADTQ_LOG_FORMAT": "xml"})


# Files


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"threads = = 3", "line 1"),
        (b"a = 1\n\nb c\n", "line 3"),
        (b"broker = '\xff'", "is not UTF-8 at byte 10"),
        (b"#" * (settings_module.MAX_FILE_BYTES + 1), "larger than 1024 KiB: not a settings file"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"threads: 3", "line 1"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "yadtq.toml").write_bytes(content)
    text = refusal(tmp_path)
    assert text.startswith(str(tmp_path / "yadtq.toml"))
    assert said in text


def test_a_directory_in_place_of_the_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "yadtq.toml").mkdir()
    assert refusal(tmp_path) == f"{tmp_path / 'yadtq.toml'} cannot be read: Is a directory"


def test_a_pyproject_with_an_odd_tool_table_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool = 5\n")
    assert loaded(tmp_path).threads == 1
    (tmp_path / "pyproject.toml").write_text("[tool]\nyadtq = 5\n")
    assert loaded(tmp_path).threads == 1


def test_a_folder_that_may_not_be_looked_into_holds_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", denied)
    assert loaded(tmp_path).threads == 1


# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("0.5", 0.5), ("500ms", 0.5), ("10m", 600), ("2h", 7200), ("7d", 604800), (" 3s ", 3)],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1", "+1", "1w", "1 s", "1.", ".5", "1e3", "nan", "1_0", "\uff11", "1M"])
def test_an_invalid_duration_is_refused_with_the_format(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"not a duration: .*use seconds or 500ms, 10m, 2h, 7d"):
        duration(text)


@given(st.text())
def test_any_text_is_a_finite_duration_or_refused(text: str) -> None:
    try:
        assert duration(text) >= 0
    except InvalidSetting:
        pass


# Passwords


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@host/0", "redis://***@host/0"),
        ("redis://user:hunter2@[::1]:6379/0", "redis://user:***@[::1]:6379/0"),
        ("kafka://user:hunter2@a:1,b:2", "kafka://user:***@a:1,b:2"),
        ("redis://:hunt@er2@host", "redis://***@host"),
        ("redis://:hunt/er2@host", "redis://***@host"),
        ("redis://:hunt#er2@host", "redis://***@host"),
        ("redis://:hunt?er2@host", "redis://***@host"),
        ("redis://:hunter2@[::1", "redis://***@[::1"),
        ("user:hunter2@host:9092", "***@host:9092"),
        ("redis://host/0?password=hunter2&db=1", "redis://host/0?password=***&db=1"),
        ("kafka+ssl://h?ssl_password=hunter2", "kafka+ssl://h?ssl_password=***"),
        ("kafka+ssl://h?PassPhrase=hunter2&ca=/c", "kafka+ssl://h?PassPhrase=***&ca=/c"),
        ("kafka+ssl://u:hunter2@h1:1,h2?sasl=PLAIN", "kafka+ssl://u:***@h1:1,h2?sasl=PLAIN"),
        ("kafka+ssl://h?password_file=/run/secret", "kafka+ssl://h?password_file=/run/secret"),
        ("unix:///run/valkey.sock?db=0", "unix:///run/valkey.sock?db=0"),
        ("memory://", "memory://"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@given(st.text(alphabet="ab:/?#@[]%&= \n", max_size=12))
def test_no_password_gets_through_however_badly_it_is_written(noise: str) -> None:
    assert "hunter2" not in masked_url(f"redis://user:{noise}hunter2{noise}@host:6379/0")


def test_an_address_of_the_wrong_kind_shows_no_password_either(tmp_path: Path) -> None:
    text = refusal(tmp_path, broker=["kafka://u:hunter2@a:1", "kafka://u:hunter2@b:1"])
    assert text.startswith("broker = ")
    assert "hunter2" not in text


def test_an_address_is_carried_as_it_is(tmp_path: Path) -> None:
    """A fault in an address is reported when the address is opened, not when settings are read."""
    url = "redis://:pä55wörd@host"
    assert loaded(tmp_path, {"YADTQ_BACKEND": url}).backend == url


def test_a_record_outlives_the_leases_of_its_task(tmp_path: Path) -> None:
    """With a shorter one, a record had expired before its message was delivered again, and the task ran twice."""
    assert loaded(tmp_path, claim_stale_seconds=2, result_ttl=8).result_ttl == 8
    text = refusal(tmp_path, {"YADTQ_RESULT_TTL": "59s"})
    assert text.startswith("result_ttl = 59 (")
    assert "at least 4 leases, 60 seconds with claim_stale_seconds = 15" in text


# The machine


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (0.5, 1), (1.0, 1), (2.9, 2), (64.0, 4)])
def test_usable_cores_count_a_quota(monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    monkeypatch.setattr(settings_module, "_cgroup_quota", lambda: quota)
    assert usable_cores() == cores


@pytest.mark.parametrize("host", ["", "höst name", "h" * 200, "a\nb"])
def test_a_worker_has_a_name_whatever_its_host_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert loaded(tmp_path, worker_id=default_worker_id()).worker_id

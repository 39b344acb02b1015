"""Fixtures of the plugins' tests: the services of all tests, and the first-party plugins that a test allows.

No other first-party plugin is loaded in a test, or in a process that it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import (
    FIRST_PARTY,
    kafka_url,
    make_kafka,
    make_valkey,
    namespace,
    pytest_collection_modifyitems,
    redis_url,
)
from yadtq_core import installed

__all__ = ["kafka_url", "make_kafka", "make_valkey", "namespace", "pytest_collection_modifyitems", "redis_url"]


@pytest.fixture
def unblocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Allow first-party plugins, such as `unblocked("crypt")`, in this test and the processes that it starts."""

    def unblock(*names: str) -> None:
        assert set(names) <= set(FIRST_PARTY)
        monkeypatch.setenv(installed.BLOCK, ",".join(name for name in FIRST_PARTY if name not in names) or " ")
        _forget()

    yield unblock
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    installed.entry_points.cache_clear()
    installed.blocked_entry_points.cache_clear()

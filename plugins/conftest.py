"""Fixtures of the plugins' tests: the services of all tests, and which of our own plugins are in force.

No first-party plugin is loaded in a test, or in a process that it starts, but those that the test asks for.
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
    """Let first-party plugins be loaded: `unblocked("crypt")` these, for this test and what it starts."""

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

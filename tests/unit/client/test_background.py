"""Confirming behind the callers: in batches, again where it fails, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.client.memory import MemoryBackend
from tests.unit.client.test_submitter import failing
from tests.waiting import wait_until
from yadtq_core import BackendUnavailable
from yadtq_core.client import background
from yadtq_core.client.background import Confirmer
from yadtq_core.model import Placed


@pytest.fixture
def backend() -> Any:
    return MemoryBackend()


@pytest.fixture
def confirming(backend: Any) -> Iterator[Confirmer]:
    made = Confirmer(backend)
    yield made
    made.close(1.0)


def test_acknowledgements_within_the_linger_time_are_confirmed_together(
    backend: Any, confirming: Confirmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "LINGER", 0.5)
    for number in range(100):
        confirming.add([Placed(str(number), "default", "0:1")])
    wait_until(lambda: len(backend.positions) == 100, "all are confirmed")
    assert len(backend.sizes("confirm")) < 10


def test_a_failed_confirm_is_repeated(backend: Any, confirming: Confirmer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_RETRY", 0.01)
    backend.before = failing("confirm", BackendUnavailable("away"), times=3)
    confirming.add([Placed("a", "default", "0:1"), Placed("b", "default", "0:2")])
    wait_until(lambda: backend.positions == {"a": "0:1", "b": "0:2"}, "all are confirmed")


def test_close_confirms_the_rest(backend: Any) -> None:
    made = Confirmer(backend)
    made.add([Placed(str(number), "default", "0:1") for number in range(1200)])
    made.close(5.0)
    assert len(backend.positions) == 1200
    assert max(backend.sizes("confirm")) == background.BATCH


def test_close_does_not_wait_for_a_backend_that_is_away(backend: Any) -> None:
    backend.before = failing("confirm", BackendUnavailable("away"), times=1000)
    made = Confirmer(backend)
    made.add([Placed("a", "default", "0:1")])
    made.close(5.0)
    assert backend.positions == {}

"""The pytest plugin of yadtq, loaded by pytest wherever yadtq is installed.

    def test_a_picture_is_resized(yadtq_client, run_until_idle):
        handle = yadtq_client.submit(resize, "a.png")
        run_until_idle()
        assert handle.result(timeout=0) == "a-800.png"

No module of yadtq is imported until a test uses one of these fixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from yadtq_core.client.client import Client
    from yadtq_core.model import Outcome
    from yadtq_core.testing.engine import Engine
    from yadtq_core.testing.recorder import EventRecorder


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of the contract suites' longer tests, so that `--strict-markers` accepts it everywhere."""
    config.addinivalue_line("markers", "slow: starts processes, or takes more than a second")


@pytest.fixture
def yadtq_plugins() -> list[object]:
    """Objects with hooks, in addition to the installed plugins; a test module overrides this fixture."""
    return []


@pytest.fixture
def yadtq_settings() -> dict[str, Any]:
    """Settings of the engine, by name; a test module overrides this fixture."""
    return {}


@pytest.fixture
def yadtq_events() -> EventRecorder:
    """The calls of the event hooks, in order."""
    from yadtq_core.testing.recorder import EventRecorder  # noqa: PLC0415

    return EventRecorder()


@pytest.fixture
def yadtq_engine(
    yadtq_plugins: list[object], yadtq_settings: dict[str, Any], yadtq_events: EventRecorder
) -> Iterator[Engine]:
    """A client, a worker and services for one test, in its own thread; see `yadtq_core.testing.Engine`."""
    from yadtq_core.testing.engine import Engine  # noqa: PLC0415

    with Engine(yadtq_events, *yadtq_plugins, **yadtq_settings) as engine:
        yield engine
    failed = ", ".join(f"{plugin}: {hook} ({count})" for (plugin, hook), count in engine.hook_failures.items())
    assert not failed, f"event hooks raised (the log has their tracebacks): {failed}"


@pytest.fixture
def yadtq_client(yadtq_engine: Engine) -> Client:
    """The engine's client. The tasks that it submits run when `run_until_idle` is called."""
    return yadtq_engine.client


@pytest.fixture
def run_until_idle(yadtq_engine: Engine) -> Callable[..., list[Outcome]]:
    """Run all submitted tasks; return the outcomes. `jump=False`: only those that are due now."""
    return yadtq_engine.run_until_idle

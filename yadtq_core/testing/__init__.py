"""For tests: contract suites of the seams, an engine that runs tasks in the test's own process, pytest fixtures.

    from yadtq_core.testing import BackendContract, BrokerContract

The author of a broker or backend subclasses one of these and gives it one fixture, `settings`. The author of tasks or
hooks uses the fixtures of `fixtures.py`, which pytest loads wherever yadtq is installed, or an `Engine`. Needs pytest.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.contracts.{name}"
        for name in (
            "backend_bed",
            "submitting",
            "claiming",
            "ending",
            "releasing",
            "sweeping",
            "taking",
            "watching",
            "backend",
            "broker",
        )
    )
)

from yadtq_core.testing.contracts.backend import BackendContract  # noqa: E402  after what rewrites its asserts
from yadtq_core.testing.contracts.broker import BrokerContract  # noqa: E402
from yadtq_core.testing.engine import Engine, Submitted  # noqa: E402
from yadtq_core.testing.recorder import Event, EventRecorder  # noqa: E402
from yadtq_core.testing.waiting import wait_until  # noqa: E402

__all__ = ["BackendContract", "BrokerContract", "Engine", "Event", "EventRecorder", "Submitted", "wait_until"]

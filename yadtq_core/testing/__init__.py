"""Contract suites: what the seams promise, as tests that every implementation passes. Needs pytest.

    from yadtq_core.testing import BackendContract, BrokerContract

A third party subclasses one and gives it one fixture, `settings`.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("records", "submitting", "claiming", "ending", "sweeping", "backend", "broker"))
)

from yadtq_core.testing.backend import BackendContract  # noqa: E402  after what rewrites its asserts
from yadtq_core.testing.broker import BrokerContract  # noqa: E402
from yadtq_core.testing.waiting import wait_until  # noqa: E402

__all__ = ["BackendContract", "BrokerContract", "wait_until"]

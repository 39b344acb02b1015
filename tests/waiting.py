"""Waiting for what another process or thread does: the contract suites bring it."""

from yadtq_core.testing.waiting import wait_until

__all__ = ["wait_until"]

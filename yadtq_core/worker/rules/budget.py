"""The budget of memory of each part of a worker that holds tasks, and the bytes that one of their values holds."""

from __future__ import annotations

from collections.abc import Iterable

from yadtq_core.model import Delivery, Outcome

BUDGET = 8 * 1024 * 1024
"""Bytes that each of these may hold: deliveries that wait for a claim, jobs of the children, unwritten outcomes, events
of plugins, and one script call. It is 32 of the largest arguments or eight of the largest results.

A part checks its budget before it takes more, so it can exceed it by what it takes at once, which is bounded too.
"""
OBJECTS = 1024
"""Bytes of the Python objects of one delivery or outcome beside its body or result (740 to 1,150 were measured)."""


def size_of_delivery(delivery: Delivery) -> int:
    """Return the bytes that a delivery holds; its message shares the arguments with the body."""
    return OBJECTS + len(delivery.body)


def size_of_deliveries(deliveries: Iterable[Delivery]) -> int:
    """Return the bytes that these deliveries hold."""
    return sum(map(size_of_delivery, deliveries))


def size_of_outcome(outcome: Outcome) -> int:
    """Return the bytes that an outcome holds: its result, or the text of its error."""
    error = outcome.error
    text = 0 if error is None else len(error.message) + len(error.traceback or "")
    return OBJECTS + len(outcome.result or b"") + text

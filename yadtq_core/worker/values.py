"""The small values that the worker's parts hand to each other."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from yadtq_core.child.pipe import Done
from yadtq_core.model import Lease


class Given(Struct, frozen=True, gc=False):
    """A lease that a child was given, under its job's number, and when (local monotonic seconds)."""

    seq: int
    lease: Lease
    at: float


class Death(NamedTuple):
    """A child that died: what it had begun and not reported, what it had not begun, and why, in words."""

    begun: list[Lease]
    unbegun: list[Lease]
    cause: str


class News(NamedTuple):
    """What the children told since the last time."""

    ended: list[tuple[Lease, Done]]
    progress: list[tuple[str, str]]
    """(id, text) of runs that said how far they are."""
    deaths: list[Death]
    ready: bool
    """A child has become ready to run tasks."""

"""What installed distributions offer by entry points, and what is blocked of it.

    YADTQ_BLOCK_PLUGINS=acme-images,squid

blocks all entry points of a distribution (`acme-images`), or every one of that name (`squid`), in all groups.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

TASKS = "yadtq.tasks"
HOOKS = "yadtq.plugins"
COMMANDS = "yadtq.commands"
BLOCK = "YADTQ_BLOCK_PLUGINS"


@cache
def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return a group's entry points of everything installed and not blocked, by name.

    Read once a process: what is installed or blocked later is not seen.
    """
    blocked = blocked_names()
    return tuple(one for one in _installed(group) if not _names(one) & blocked)


@cache
def blocked_entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return the group's entry points that are blocked."""
    allowed = entry_points(group)
    return tuple(one for one in _installed(group) if one not in allowed)


def blocked_names() -> frozenset[str]:
    """Return the names in YADTQ_BLOCK_PLUGINS, as distributions are compared."""
    return frozenset(_normal(name) for name in os.environ.get(BLOCK, "").split(",") if name.strip())


def origin_of(entry_point: EntryPoint) -> str:
    """Return which distribution an entry point belongs to: name and version."""
    dist = entry_point.dist
    return "an unnamed distribution" if dist is None else f"{dist.name} {dist.version}"


def _installed(group: str) -> list[EntryPoint]:
    from importlib import metadata  # noqa: PLC0415  (15 ms that `yadtq --help` need not pay)

    # A distribution can be seen twice (an editable install beside its own folder on the path): it is one.
    unique = {(one.name, one.value, origin_of(one)): one for one in metadata.entry_points(group=group)}
    return sorted(unique.values(), key=lambda one: (one.name, origin_of(one)))


def _names(entry_point: EntryPoint) -> set[str]:
    dist = entry_point.dist
    return {_normal(entry_point.name)} | (set() if dist is None else {_normal(dist.name)})


def _normal(name: str) -> str:
    """Return a name as distributions are compared (PEP 503): `Acme_Images` and `acme-images` are one."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()

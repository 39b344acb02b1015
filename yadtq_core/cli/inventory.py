"""The plugins, tasks and commands of each installed distribution: blocked or not, and why one cannot be loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from yadtq_core.cli.commands import loaded, offers
from yadtq_core.errors import YadtqError
from yadtq_core.installed import COMMANDS, HOOKS, TASKS, blocked_entry_points, distribution_of, entry_points, place_of
from yadtq_core.plugin.loading import Plugins, load_plugins
from yadtq_core.plugin.manager import NAMES
from yadtq_core.plugin.registry import Registry

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Item(NamedTuple):
    """One entry point. `hooks` are those that a plugin implements."""

    name: str
    place: str
    hooks: tuple[str, ...] = ()
    blocked: bool = False
    error: str | None = None


class Source(NamedTuple):
    """One distribution with its entry points."""

    name: str
    version: str
    plugins: list[Item]
    tasks: list[Item]
    commands: list[Item]


class Inventory(NamedTuple):
    """All distributions by name. order: the plugins of each implemented hook, in the order of their calls."""

    sources: list[Source]
    order: dict[str, list[str]]
    warnings: list[str]


def take_inventory() -> Inventory:
    """Import every entry point that is not blocked, and return all of them."""
    plugins, registry = load_plugins(), Registry()
    sources: dict[tuple[str, str], Source] = {}
    for group, items in (("plugins", _plugins(plugins)), ("tasks", _tasks(registry)), ("commands", _commands())):
        for entry_point, item in items:
            key = distribution_of(entry_point)
            getattr(sources.setdefault(key, Source(*key, [], [], [])), group).append(item)
    order = {hook: plugins.manager.order(hook) for hook in NAMES}
    return Inventory(
        [sources[key] for key in sorted(sources)],
        {hook: names for hook, names in order.items() if names},
        registry.name_warnings(),
    )


def _plugins(plugins: Plugins) -> Iterator[tuple[EntryPoint, Item]]:
    rows = iter(plugins.rows[1:])  # the first is the core's own; the others have the order of the entry points
    for entry_point in (*entry_points(HOOKS), *blocked_entry_points(HOOKS)):
        row = next(rows)
        yield entry_point, Item(row.name, place_of(entry_point), row.hooks, row.blocked, row.error)


def _tasks(registry: Registry) -> Iterator[tuple[EntryPoint, Item]]:
    for entry_point in entry_points(TASKS):
        item = Item(entry_point.name, place_of(entry_point))
        try:
            registry.get(entry_point.name)
        except YadtqError as error:
            item = item._replace(error=str(error))
        yield entry_point, item
    yield from _blocked(TASKS)


def _commands() -> Iterator[tuple[EntryPoint, Item]]:
    for offer in offers():
        item = Item(offer.name, place_of(offer.entry_point))
        try:
            loaded(offer)
        except YadtqError as error:
            item = item._replace(error=str(error))
        yield offer.entry_point, item
    yield from _blocked(COMMANDS)


def _blocked(group: str) -> Iterator[tuple[EntryPoint, Item]]:
    for entry_point in blocked_entry_points(group):
        yield entry_point, Item(entry_point.name, place_of(entry_point), blocked=True)

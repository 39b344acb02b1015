"""Plugins: what installed distributions offer, and the broker and backend that an address chooses among it.

The manager is made by `load_plugins`, one a process, by whoever composes a client or a worker; importing this
module makes nothing and reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pluggy

from yadtq_core import defaults, hookspecs
from yadtq_core.errors import InvalidSetting, TaskLoadError
from yadtq_core.interfaces import Backend, Broker
from yadtq_core.settings import Settings, masked_url

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "yadtq.plugins"
_CORE = "yadtq's own defaults"


class Plugins(NamedTuple):
    """The plugins of a process: their hooks, and what could not be loaded (with which no worker starts)."""

    manager: pluggy.PluginManager
    errors: tuple[TaskLoadError, ...]


@cache
def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return a group's entry points of everything installed, by name.

    Read once a process: what is installed later is not seen.
    """
    from importlib import metadata  # noqa: PLC0415  (15 ms that `yadtq --help` need not pay)

    return tuple(sorted(metadata.entry_points(group=group), key=lambda one: (one.name, origin_of(one))))


def origin_of(entry_point: EntryPoint) -> str:
    """Return which distribution an entry point belongs to: name and version."""
    dist = entry_point.dist
    return "an unnamed distribution" if dist is None else f"{dist.name} {dist.version}"


def load_plugins() -> Plugins:
    """Return a new manager with the core's own plugin and all that is installed.

    A plugin that cannot be loaded, has a name that stands already, or implements a hook that does not exist
    is left out; its error names it, its distribution and what is wrong.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(defaults, _CORE)
    origins: dict[str, str] = {}
    errors = []
    for entry_point in entry_points(GROUP):
        origin = origin_of(entry_point)
        try:
            if entry_point.name in origins:
                raise TaskLoadError(f"{origins[entry_point.name]} has a plugin of this name too: uninstall one")
            origins[entry_point.name] = origin
            _register(manager, entry_point, origin)
        except Exception as error:
            errors.append(_load_error(entry_point, origin, error))
    return Plugins(manager, tuple(errors))


def _register(manager: pluggy.PluginManager, entry_point: EntryPoint, origin: str) -> None:
    """Load and register one plugin; some versions of pluggy leave it half registered where that fails."""
    name = f"{entry_point.name} ({origin})"
    plugin = _load(entry_point)
    try:
        manager.register(plugin, name)
        manager.check_pending()
    except Exception:
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        raise


def _load(entry_point: EntryPoint) -> Any:
    try:
        return entry_point.load()
    except SystemExit as error:
        raise TaskLoadError(f"it called sys.exit({error.code!r}) when it was imported") from error


def _load_error(entry_point: EntryPoint, origin: str, error: Exception) -> TaskLoadError:
    reason = (
        str(error) if isinstance(error, TaskLoadError) else f"{type(error).__name__}: {' '.join(str(error).split())}"
    )
    failed = TaskLoadError(f"plugin {entry_point.name!r} of {origin} ({entry_point.value}) cannot be loaded: {reason}")
    failed.__cause__ = error
    return failed


def open_broker(settings: Settings, plugins: Plugins | None = None) -> Broker:
    """Return the broker that the scheme of `settings.broker` chooses, opened.

    plugins: default those installed. Raises InvalidSetting for an address of no known scheme and where two
    plugins offer one scheme, and what the factory raises.
    """
    hooks = (plugins or load_plugins()).manager.hook
    broker: Broker = _chosen("broker", settings.broker, hooks.yadtq_brokers)(settings)
    return broker


def open_backend(settings: Settings, plugins: Plugins | None = None) -> Backend:
    """Return the backend that the scheme of `settings.backend` chooses, opened.

    plugins: default those installed. Raises as `open_broker` does.
    """
    hooks = (plugins or load_plugins()).manager.hook
    backend: Backend = _chosen("backend", settings.backend, hooks.yadtq_backends)(settings)
    return backend


def _chosen(setting: str, address: str, hook: pluggy.HookCaller) -> Callable[[Settings], Any]:
    offered = _offered(setting, hook)
    scheme, separator, rest = address.partition("://")
    known = ", ".join(f"{name}://" for name in sorted(offered))
    if not separator or not (rest or scheme == "memory"):  # memory needs no place, only perhaps a name
        raise InvalidSetting(
            f"{setting} = {masked_url(address)!r} is no address; an address begins with one of {known}"
        )
    if scheme not in offered:
        raise InvalidSetting(f"{setting} = {masked_url(address)!r}: no {setting} for {scheme}:// here; known: {known}")
    return offered[scheme]


def _offered(setting: str, hook: pluggy.HookCaller) -> Mapping[str, Callable[[Settings], Any]]:
    """Return {scheme: factory} of all plugins; two with one scheme: InvalidSetting names both."""
    offered: dict[str, Callable[[Settings], Any]] = {}
    givers: dict[str, str] = {}
    for implementation in hook.get_hookimpls():
        factories = cast("Mapping[str, Callable[[Settings], Any]]", implementation.function() or {})
        for scheme, factory in factories.items():
            if scheme in offered:
                raise InvalidSetting(
                    f"two plugins offer a {setting} for {scheme}://: {givers[scheme]} and "
                    f"{implementation.plugin_name}; uninstall one"
                )
            offered[scheme], givers[scheme] = factory, implementation.plugin_name
    return offered

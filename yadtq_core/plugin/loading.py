"""Plugins: what installed distributions offer by hooks, and what is chosen among it.

A `Plugins` is made by `load_plugins`, one for each client, worker or child that opens; importing this module makes
nothing and reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from yadtq_core.errors import InvalidSetting, PluginError
from yadtq_core.installed import HOOKS, blocked_entry_points, entry_points, load, origin_of, reason
from yadtq_core.interfaces import Backend, Broker, Codec, Serializer
from yadtq_core.plugin import defaults
from yadtq_core.plugin.manager import Hooks
from yadtq_core.plugin.offers import asked_mapping, asked_sequence, check_section, unique
from yadtq_core.settings import Settings, masked_url, with_sections
from yadtq_core.wire.payloads import Payloads

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_CORE = "yadtq's own defaults"
_MEMBERS = {"serializer": ("name", "content_type", "dumps", "loads"), "codec": ("name", "encode", "decode")}


class PluginRow(NamedTuple):
    """What is to be told about one plugin; `error` where it cannot be had, `hooks` in no order of calling."""

    name: str
    origin: str
    """Distribution and version."""
    place: str
    hooks: tuple[str, ...] = ()
    error: str | None = None
    blocked: bool = False


class Plugins:
    """The plugins of one client, worker or child: their hooks, and what could not be loaded.

    `errors`: with one of these no worker starts, unless it is told to be lenient.
    """

    def __init__(self, hooks: Hooks, rows: Sequence[PluginRow], errors: Sequence[PluginError]) -> None:
        self.manager = hooks
        self.rows = tuple(rows)
        self.errors = tuple(errors)
        self._settings: Settings | None = None

    @property
    def hook(self) -> Any:
        """The hooks, to be called with keywords."""
        return self.manager.hook

    def configure(self, settings: Settings) -> Settings:
        """Build the plugins' own settings, tell all plugins what is in force, and return it.

        The first call counts: a plugin is configured once. Raises InvalidSetting for what a section does not take,
        and what a plugin's `yadtq_configure` raises, as PluginError.
        """
        if self._settings is None:
            self._settings = with_sections(settings, self._sections())
            self.manager.each("yadtq_configure", settings=self._settings)
        return self._settings

    def payloads(self, settings: Settings) -> Payloads:
        """Return the serializers and codecs, those of the settings applied; raises InvalidSetting, PluginError."""
        serializers = self._named("serializer", "yadtq_serializers")
        _one_type_each(serializers.values())
        return Payloads(serializers, self._named("codec", "yadtq_codecs"), settings.codecs)

    def _sections(self) -> dict[str, type]:
        sections: dict[str, type] = {}
        givers: dict[str, str] = {}
        for plugin, offered in asked_mapping(self.manager, "yadtq_settings"):
            for name, kind in offered.items():
                check_section(plugin, name, kind)
                unique("settings section", name, givers, plugin)
                sections[name] = kind
        return sections

    def _named(self, what: str, hook: str) -> dict[str, Any]:
        """Return {name: what the plugins offer}; two of one name: PluginError names both."""
        named: dict[str, Serializer | Codec] = {}
        givers: dict[str, str] = {}
        for plugin, offered in asked_sequence(self.manager, hook, _MEMBERS[what]):
            for one in offered:
                unique(what, one.name, givers, plugin)
                named[one.name] = one
        return named


def load_plugins(*more: object) -> Plugins:
    """Return the core's own plugin, all that is installed, and `more` plugin objects.

    An installed plugin that cannot be loaded, has a name that stands already, or breaks a rule of hooks is left out;
    its error names it, its distribution and what is wrong. Raises PluginError for one of `more`.
    """
    hooks = Hooks()
    hooks.register(defaults, _CORE)
    rows = [PluginRow(_CORE, "", defaults.__name__, _hooks_of(hooks, defaults))]
    errors: list[PluginError] = []
    origins: dict[str, str] = {}
    for entry_point in entry_points(HOOKS):
        origin = origin_of(entry_point)
        try:
            if entry_point.name in origins:
                raise PluginError(f"{origins[entry_point.name]} has a plugin of this name too: uninstall one")
            origins[entry_point.name] = origin
            plugin = load(entry_point, _own)
            hooks.register(plugin, f"{entry_point.name} ({origin})")
            rows.append(PluginRow(entry_point.name, origin, entry_point.value, _hooks_of(hooks, plugin)))
        except Exception as error:
            failed = _load_error(entry_point, origin, error)
            errors.append(failed)
            rows.append(PluginRow(entry_point.name, origin, entry_point.value, error=str(failed)))
    rows += [PluginRow(one.name, origin_of(one), one.value, blocked=True) for one in blocked_entry_points(HOOKS)]
    for plugin in more:
        hooks.register(plugin)
    hooks.seal()
    return Plugins(hooks, rows, errors)


def _hooks_of(hooks: Hooks, plugin: object) -> tuple[str, ...]:
    return tuple(sorted(caller.name for caller in hooks.get_hookcallers(plugin) or ()))


def _own(found: Any) -> Any:
    """Return the plugin: a module or an object; a class is made one, so that each client or worker has its own."""
    return found() if isinstance(found, type) else found


def _load_error(entry_point: EntryPoint, origin: str, error: Exception) -> PluginError:
    failed = PluginError(
        f"plugin {entry_point.name!r} of {origin} ({entry_point.value}) cannot be loaded: {reason(error)} "
        f"(YADTQ_BLOCK_PLUGINS={entry_point.name} leaves it out)"
    )
    failed.__cause__ = error
    return failed


def open_broker(settings: Settings, plugins: Plugins | None = None) -> Broker:
    """Return the broker that the scheme of `settings.broker` chooses, opened.

    plugins: default those installed. Raises InvalidSetting for an address of no known scheme and where two
    plugins offer one scheme, and what the factory raises.
    """
    plugins = plugins or load_plugins()
    broker: Broker = _chosen("broker", settings.broker, plugins)(settings)
    return broker


def open_backend(settings: Settings, plugins: Plugins | None = None) -> Backend:
    """Return the backend that the scheme of `settings.backend` chooses, opened.

    plugins: default those installed. Raises as `open_broker` does.
    """
    plugins = plugins or load_plugins()
    backend: Backend = _chosen("backend", settings.backend, plugins)(settings)
    return backend


def _chosen(setting: str, address: str, plugins: Plugins) -> Callable[[Settings], Any]:
    offered = _offered(setting, plugins)
    scheme, separator, rest = address.partition("://")
    known = ", ".join(f"{name}://" for name in sorted(offered))
    if not separator or not (rest or scheme == "memory"):  # memory needs no place, only perhaps a name
        raise InvalidSetting(
            f"{setting} = {masked_url(address)!r} is no address; an address begins with one of {known}"
        )
    if scheme not in offered:
        raise InvalidSetting(f"{setting} = {masked_url(address)!r}: no {setting} for {scheme}:// here; known: {known}")
    return offered[scheme]


def _offered(setting: str, plugins: Plugins) -> Mapping[str, Callable[[Settings], Any]]:
    """Return {scheme: factory} of all plugins; two with one scheme: PluginError names both."""
    offered: dict[str, Callable[[Settings], Any]] = {}
    givers: dict[str, str] = {}
    for plugin, factories in asked_mapping(plugins.manager, f"yadtq_{setting}s"):
        for scheme, factory in factories.items():
            unique(f"{setting} for {scheme}://", scheme, givers, plugin)
            offered[scheme] = factory
    return offered


def _one_type_each(serializers: Iterable[Serializer]) -> None:
    by_type: dict[str, str] = {}
    for one in serializers:
        if one.content_type in by_type:
            raise PluginError(
                f"serializers {by_type[one.content_type]!r} and {one.name!r} have one content type, "
                f"{one.content_type}; uninstall one of their plugins"
            )
        by_type[one.content_type] = one.name

"""The plugins of a client, worker or child: loaded, configured, and their offers of wiring hooks checked.

`load_plugins` makes one `Plugins` for each client, worker or child that opens. Importing this module reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from yadtq_core.errors import InvalidSetting, PluginError
from yadtq_core.installed import HOOKS, blocked_entry_points, entry_points, load, origin_of, reason
from yadtq_core.interfaces import Backend, Broker, Codec, Serializer
from yadtq_core.plugin import defaults
from yadtq_core.plugin.manager import Hooks
from yadtq_core.settings import (
    ENVIRONMENT,
    FIELDS,
    OTHER_VARIABLES,
    Settings,
    masked_url,
    section_variable,
    with_sections,
)
from yadtq_core.wire.payloads import Payloads

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_CORE = "yadtq's own defaults"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""Name of a serializer or codec. Messages and records store such names, separated by commas."""
_SECTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_MEMBERS = {"serializer": ("name", "content_type", "dumps", "loads"), "codec": ("name", "encode", "decode")}


class PluginRow(NamedTuple):
    """A row of `yadtq plugin list`: `error` says why the plugin is not loaded; `hooks` are sorted by name."""

    name: str
    origin: str
    """Distribution and version."""
    place: str
    hooks: tuple[str, ...] = ()
    error: str | None = None
    blocked: bool = False


class Plugins:
    """The plugins of one client, worker or child: their hooks (`manager`), a row for each, and load errors.

    A worker refuses to start with an error in `errors`, unless it runs with --lenient.
    """

    def __init__(self, hooks: Hooks, rows: Sequence[PluginRow], errors: Sequence[PluginError]) -> None:
        self.manager = hooks
        self.rows = tuple(rows)
        self.errors = tuple(errors)
        self._settings: Settings | None = None

    @property
    def hook(self) -> Any:
        """The hooks, called with keywords: `plugins.hook.yadtq_health(client=client)`."""
        return self.manager.hook

    def configure(self, settings: Settings) -> Settings:
        """Read the settings of the plugins, pass all settings to `yadtq_configure`, and return them.

        Plugins are configured once: later calls return the result of the first. Raises InvalidSetting for a wrong
        value in a section, PluginError if `yadtq_configure` fails.
        """
        if self._settings is None:
            self._settings = with_sections(settings, self._sections())
            self.manager.call_each("yadtq_configure", settings=self._settings)
        return self._settings

    def payloads(self, settings: Settings) -> Payloads:
        """Return all serializers and codecs, the codecs of the settings applied. Raises InvalidSetting, PluginError."""
        serializers = self._named("serializer", "yadtq_serializers")
        _one_type_each(serializers.values())
        return Payloads(serializers, self._named("codec", "yadtq_codecs"), settings.codecs)

    def _sections(self) -> dict[str, type]:
        sections: dict[str, type] = {}
        givers: dict[str, str] = {}
        for plugin, offered in _answers_as_mapping(self.manager, "yadtq_settings"):
            for name, kind in offered.items():
                _check_section(plugin, name, kind)
                _unique("settings section", name, givers, plugin)
                sections[name] = kind
        return sections

    def _named(self, what: str, hook: str) -> dict[str, Any]:
        """Return {name: offer} of all plugins. Raises PluginError if two plugins use one name."""
        named: dict[str, Serializer | Codec] = {}
        givers: dict[str, str] = {}
        for plugin, offered in _answers_as_sequence(self.manager, hook, _MEMBERS[what]):
            for one in offered:
                _unique(what, one.name, givers, plugin)
                named[one.name] = one
        return named


def load_plugins(*more: object) -> Plugins:
    """Return the core's own plugin, all installed plugins, and `more` plugin objects.

    An installed plugin that cannot be loaded, repeats a name or breaks a rule of hooks is left out; `errors` has the
    reason, with its name and distribution. Raises PluginError for an object in `more` that breaks a rule.
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
    """Return the plugin, a module or an object. A class is instantiated: each client or worker has its own object."""
    return found() if isinstance(found, type) else found


def _load_error(entry_point: EntryPoint, origin: str, error: Exception) -> PluginError:
    failed = PluginError(
        f"plugin {entry_point.name!r} of {origin} ({entry_point.value}) cannot be loaded: {reason(error)} "
        f"(YADTQ_BLOCK_PLUGINS={entry_point.name} leaves it out)"
    )
    failed.__cause__ = error
    return failed


def open_broker(settings: Settings, plugins: Plugins | None = None) -> Broker:
    """Open the broker for the scheme of `settings.broker`.

    plugins: default: all installed ones. Raises InvalidSetting for an unknown scheme, PluginError if two plugins offer
    this scheme, and the errors of the factory.
    """
    plugins = plugins or load_plugins()
    broker: Broker = _chosen("broker", settings.broker, plugins)(settings)
    return broker


def open_backend(settings: Settings, plugins: Plugins | None = None) -> Backend:
    """Open the backend for the scheme of `settings.backend`; parameters and errors as for `open_broker`."""
    plugins = plugins or load_plugins()
    backend: Backend = _chosen("backend", settings.backend, plugins)(settings)
    return backend


def _chosen(setting: str, address: str, plugins: Plugins) -> Callable[[Settings], Any]:
    offered = _offered(setting, plugins)
    scheme, separator, rest = address.partition("://")
    known = ", ".join(f"{name}://" for name in sorted(offered))
    if not separator or not (rest or scheme == "memory"):  # memory:// may be used without a name
        raise InvalidSetting(
            f"{setting} = {masked_url(address)!r} is not an address; an address begins with one of {known}"
        )
    if scheme not in offered:
        raise InvalidSetting(
            f"{setting} = {masked_url(address)!r}: no installed {setting} supports {scheme}://; known: {known}"
        )
    return offered[scheme]


def _offered(setting: str, plugins: Plugins) -> Mapping[str, Callable[[Settings], Any]]:
    """Return {scheme: factory} of all plugins. Raises PluginError if two plugins offer one scheme."""
    offered: dict[str, Callable[[Settings], Any]] = {}
    givers: dict[str, str] = {}
    for plugin, factories in _answers_as_mapping(plugins.manager, f"yadtq_{setting}s"):
        for scheme, factory in factories.items():
            _unique(f"{setting} for {scheme}://", scheme, givers, plugin)
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


def _answers_as_mapping(hooks: Hooks, hook: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield (plugin, mapping) for each answer. Raises PluginError for an answer of another type."""
    for plugin, answer in hooks.call_each(hook):
        if not isinstance(answer, Mapping):
            raise _wrong(plugin, hook, answer, "a mapping")
        yield plugin, answer


def _answers_as_sequence(hooks: Hooks, hook: str, members: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield (plugin, list) for each answer. Raises PluginError for an object in a list that lacks one of `members`."""
    for plugin, answer in hooks.call_each(hook):
        if isinstance(answer, str | Mapping) or not isinstance(answer, Iterable):
            raise _wrong(plugin, hook, answer, "a list")
        offered = list(answer)
        for one in offered:
            for member in members:
                if not hasattr(one, member):
                    raise PluginError(f"plugin {plugin}: {hook} gave {one!r:.80}, which has no {member!r}")
            if not isinstance(one.name, str) or not _NAME.fullmatch(one.name):
                raise _wrong(plugin, hook, one.name, "a name of letters, digits, '.', '_', '+' and '-'")
            if not isinstance(content_type := getattr(one, "content_type", "-"), str) or ";codecs=" in content_type:
                raise _wrong(plugin, hook, content_type, "a content type")
        yield plugin, offered


def _check_section(plugin: str, name: Any, kind: Any) -> None:
    """Raise PluginError for a section with a wrong name or type, or one that collides with a setting of yadtq."""
    if not isinstance(name, str) or not _SECTION.fullmatch(name):
        raise _wrong(plugin, "yadtq_settings", name, "a section's name of letters, digits, '_' and '-'")
    if name in FIELDS:
        raise PluginError(f"plugin {plugin}: its section [{name}] has the name of a setting of yadtq: rename it")
    if not (isinstance(kind, type) and issubclass(kind, Struct)):
        raise _wrong(plugin, f"yadtq_settings of [{name}]", kind, "a class made from msgspec.Struct")
    for field in kind.__struct_fields__:
        variable = section_variable(name, field)
        if variable in ENVIRONMENT.values() or variable in OTHER_VARIABLES:
            raise PluginError(
                f"plugin {plugin}: [{name}] {field} would be read from {variable}, a variable of yadtq: rename it"
            )


def _unique(what: str, name: str, givers: dict[str, str], plugin: str) -> None:
    """Note the plugin that offers a name. Raises PluginError if another plugin has offered it."""
    if name in givers:
        said = what if "://" in what else f"{what} {name!r}"
        raise PluginError(f"two plugins offer a {said}: {givers[name]} and {plugin}; uninstall one")
    givers[name] = plugin


def _wrong(plugin: str, hook: str, answer: Any, wanted: str) -> PluginError:
    return PluginError(f"plugin {plugin}: {hook} gave {answer!r:.80}, not {wanted}")

"""What plugins offer by wiring hooks, looked at before it is used: a wrong answer is told with its plugin's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from yadtq_core.errors import PluginError
from yadtq_core.plugin.manager import Hooks
from yadtq_core.settings import ENVIRONMENT, FIELDS, OTHER_VARIABLES, section_variable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""Of a serializer or codec: messages and records keep it, between commas."""
_SECTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def asked_mapping(hooks: Hooks, hook: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield (plugin, mapping) of those that answer; raises PluginError for an answer that is none."""
    for plugin, answer in hooks.each(hook):
        if not isinstance(answer, Mapping):
            raise _wrong(plugin, hook, answer, "a mapping")
        yield plugin, answer


def asked_sequence(hooks: Hooks, hook: str, members: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield (plugin, list) of those that answer; raises PluginError for one that lacks any of `members`.

    members: the first is the name, by which what is offered is chosen.
    """
    for plugin, answer in hooks.each(hook):
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


def check_section(plugin: str, name: Any, kind: Any) -> None:
    """Raise PluginError for a section of settings that could not be read, or would be read for one of the core's."""
    if not isinstance(name, str) or not _SECTION.fullmatch(name):
        raise _wrong(plugin, "yadtq_settings", name, "a section's name of letters, digits, '_' and '-'")
    if name in FIELDS:
        raise PluginError(f"plugin {plugin}: its section [{name}] has the name of a setting of yadtq's own: rename it")
    if not (isinstance(kind, type) and issubclass(kind, Struct)):
        raise _wrong(plugin, f"yadtq_settings of [{name}]", kind, "a class made from msgspec.Struct")
    for field in kind.__struct_fields__:
        variable = section_variable(name, field)
        if variable in ENVIRONMENT.values() or variable in OTHER_VARIABLES:
            raise PluginError(
                f"plugin {plugin}: [{name}] {field} would be read from {variable}, which is yadtq's own: rename it"
            )


def unique(what: str, name: str, givers: dict[str, str], plugin: str) -> None:
    """Note who gives a name; raises PluginError where another has given it."""
    if name in givers:
        said = what if "://" in what else f"{what} {name!r}"
        raise PluginError(f"two plugins offer a {said}: {givers[name]} and {plugin}; uninstall one")
    givers[name] = plugin


def _wrong(plugin: str, hook: str, answer: Any, wanted: str) -> PluginError:
    return PluginError(f"plugin {plugin}: {hook} gave {answer!r:.80}, not {wanted}")

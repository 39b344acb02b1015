"""`yadtq config`: the settings in force and the origin of each."""

import json
import os
import re
from typing import Annotated, Any

import msgspec
import typer

from yadtq_core.cli.opening import open_plugins
from yadtq_core.cli.options import CommonOptions, common
from yadtq_core.cli.output import UNSAFE, say, say_json
from yadtq_core.settings import FIELDS, Loaded, masked, section_variable

Table = dict[str, tuple[Any, str]]
"""Name → (value, origin)."""


@common
def config(
    given: CommonOptions,
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Show the origin of each value.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the settings in force, including those of plugins. Secrets are masked.

    For example:

        yadtq config --origin
    """
    loaded = given.load()
    settings = open_plugins().configure(loaded.settings)
    shown = msgspec.to_builtins(settings)
    own = {name: (masked(name, shown[name]), _place(loaded, name)) for name in FIELDS}
    sections = {name: _section(loaded, name, values) for name, values in sorted(shown["sections"].items())}
    if as_json:
        say_json(_as_json(own, origin=origin) | {name: _as_json(one, origin=origin) for name, one in sections.items()})
        return
    _say(own, origin=origin)
    for name, table in sections.items():
        say()
        say(f"[{_key(name)}]")
        _say(table, origin=origin)


def _section(loaded: Loaded, section: str, values: dict[str, Any]) -> Table:
    return {name: (masked(name, value), _place(loaded, name, section)) for name, value in values.items()}


def _place(loaded: Loaded, name: str, section: str = "") -> str:
    """Return the origin of a value in words."""
    if section and section_variable(section, name) in os.environ:
        return f"environment {section_variable(section, name)}"
    place = loaded.origins.get(f"{section}.{name}" if section else name, "default")
    return "command line" if place == "given" else place


def _as_json(table: Table, *, origin: bool) -> dict[str, Any]:
    return {name: {"value": value, "origin": place} if origin else value for name, (value, place) in table.items()}


def _say(table: Table, *, origin: bool) -> None:
    for name, (value, place) in table.items():
        told = f"  # {place}" if origin else ""
        say(f"{_key(name)} = {_toml(value)}{told}" if value is not None else f"# {_key(name)} is not set{told}")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(str(key))} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # A JSON string, except that characters beyond U+FFFF stay as they are and unsafe ones are escaped.
        text = json.dumps(value, ensure_ascii=False)
        return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

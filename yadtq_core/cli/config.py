"""`yadtq config`: the settings in force, and where each came from."""

from typing import Annotated, Any

import msgspec
import typer

from yadtq_core.cli.options import Given, common
from yadtq_core.cli.output import say, say_json
from yadtq_core.settings import FIELDS, masked


@common
def config(
    given: Given,
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value came from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the settings in force, passwords masked.

    For example:

        yadtq config --origin
    """
    settings, origins = given.load()
    shown = msgspec.to_builtins(settings)
    values: dict[str, Any] = {name: masked(name, shown[name]) for name in FIELDS}
    places = {name: "command line" if place == "given" else place for name, place in origins.items()}
    if as_json:
        say_json(
            {name: {"value": value, "origin": places[name]} for name, value in values.items()} if origin else values
        )
        return
    for name, value in values.items():
        say(f"{name} = {_toml(value)}" + (f"  # {places[name]}" if origin else ""))


def _toml(value: Any) -> str:
    """Return a value as yadtq.toml would have it."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)

"""`yadtq plugin`: list installed plugins, and write a new one."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from yadtq_core.cli.inventory import Inventory, Item, Source, take_inventory
from yadtq_core.cli.options import CommonOptions, common
from yadtq_core.cli.output import say, say_json
from yadtq_core.cli.scaffold import write

plugins = typer.Typer(name="plugin", help="List installed plugins, or write a new one.")


@plugins.command("list")
@common
def list_plugins(
    given: CommonOptions,
    *,
    order: Annotated[
        bool, typer.Option("--order", "-v", help="Show the plugins of each hook in the order of their calls.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show installed plugins with hooks, tasks and commands, including those that are blocked or cannot be loaded.

    Imports all of them. The exit code is 0 even if some cannot be loaded.

    For example:

        yadtq plugin list --order
        YADTQ_BLOCK_PLUGINS=acme-images yadtq plugin list
    """
    given.load()
    with redirect_stdout(sys.stderr):  # the output of imports is not part of the list
        inventory = take_inventory()
    if as_json:
        say_json(_as_json(inventory))
        return
    for source in inventory.sources:
        _say(source)
    if not inventory.sources:
        say("no plugins: `yadtq plugin new acme-images` makes one")
    for warning in inventory.warnings:
        say(f"Warning: {warning}")
    if order:
        _say_order(inventory)


@plugins.command("new")
@common
def new_plugin(
    given: CommonOptions,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The distribution's name, such as acme-images.")],
    path: Annotated[
        Path | None, typer.Option("--path", metavar="FOLDER", help="The folder to write; default: NAME in this folder.")
    ] = None,
) -> None:
    """Write a package with a task, a hook and passing tests. Installs nothing.

    For example:

        yadtq plugin new acme-images
    """
    folder = path or Path(name)
    for file in write(name, folder):
        say(str(file))
    say(f"next: cd {folder} && pip install -e . pytest && python -m pytest")


def _as_json(inventory: Inventory) -> dict[str, Any]:
    return {
        "distributions": [
            {
                "distribution": source.name,
                "version": source.version or None,
                "plugins": [_item(item) | {"hooks": list(item.hooks)} for item in source.plugins],
                "tasks": [_item(item) for item in source.tasks],
                "commands": [_item(item) for item in source.commands],
            }
            for source in inventory.sources
        ],
        "order": inventory.order,
        "warnings": inventory.warnings,
    }


def _item(item: Item) -> dict[str, Any]:
    return {"name": item.name, "place": item.place, "blocked": item.blocked, "error": item.error}


def _say(source: Source) -> None:
    """Print a distribution: its plugins, tasks and commands, then the blocked ones and the errors."""
    say(f"{source.name} {source.version}".rstrip())
    for item in source.plugins:
        if not item.blocked and item.error is None:
            say(f"    plugin {item.name} ({item.place}): {', '.join(item.hooks) or 'no hooks'}")
    for kind, items in (("tasks", source.tasks), ("commands", source.commands)):
        names = [item.name for item in items if not item.blocked and item.error is None]
        if names:
            say(f"    {kind}: {', '.join(names)}")
    kinds = (("plugin", source.plugins), ("task", source.tasks), ("command", source.commands))
    blocked = [f"{kind} {item.name}" for kind, items in kinds for item in items if item.blocked]
    if blocked:
        say(f"    blocked by YADTQ_BLOCK_PLUGINS: {', '.join(blocked)}")
    for error in dict.fromkeys(item.error for _, items in kinds for item in items if item.error is not None):
        say(f"    Error: {error}")


def _say_order(inventory: Inventory) -> None:
    say()
    for hook, names in inventory.order.items():
        say(f"{hook}: {', '.join(names)}")

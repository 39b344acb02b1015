"""Commands of plugins. Help lists them by name; each is imported only when it is called.

    [project.entry-points."yadtq.commands"]
    images = "acme_images.cli:app"

The entry point names a Typer app or a function. A built-in command of the same name wins. Options before the command's
name (`yadtq --namespace shop images`) are put into the environment for it, where `Client.connect()` reads them.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from yadtq_core.cli.options import CommonOptions, has_common
from yadtq_core.cli.output import complain
from yadtq_core.errors import PluginError, YadtqError
from yadtq_core.installed import COMMANDS, blocked_entry_points, entry_points, load, origin_of, place_of, reason

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BUILT_IN = frozenset(
    "cancel config doctor monitor plugin provision query submit task worker".split()  # noqa: SIM905
)
"""The commands of yadtq itself. No plugin can have their names."""
OF_YADTQ_LOCAL = frozenset({"demo", "dev"})
"""The commands of the plugin yadtq-local, for the message when it is not installed."""
PANEL = "Commands of plugins"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_OF_EVERY_APP = frozenset({"install_completion", "show_completion"})


class Offer(NamedTuple):
    """A command that a distribution offers. `error` says why it cannot be called."""

    entry_point: EntryPoint
    error: str | None = None

    @property
    def name(self) -> str:
        """The command's name."""
        return self.entry_point.name

    @property
    def said(self) -> str:
        """Distribution, version and place in words, for messages."""
        return f"{origin_of(self.entry_point)} ({place_of(self.entry_point)})"

    @property
    def remedy(self) -> str:
        """How to leave the command out, for messages."""
        return f"(YADTQ_BLOCK_PLUGINS={self.name} leaves it out)"


def offers() -> list[Offer]:
    """Return the commands of installed distributions, by name. Imports none of them."""
    every = [Offer(one) for one in entry_points(COMMANDS)]
    return [one._replace(error=_error(one, [other for other in every if other.name == one.name])) for one in every]


def _error(one: Offer, same: list[Offer]) -> str | None:
    if one.name in BUILT_IN:
        return f"command {one.name!r} of {one.said} has the name of a built-in command, which runs instead {one.remedy}"
    if not _NAME.fullmatch(one.name):
        allowed = "lower-case letters, digits and '-', 40 at most"
        return f"command {one.name[:80]!r} of {one.said}: a command's name consists of {allowed} {one.remedy}"
    if len(same) > 1:
        both = " and ".join(other.said for other in same)
        return f"two commands are named {one.name!r}: {both}; block the distribution of one with YADTQ_BLOCK_PLUGINS"
    return None


class Commands(TyperGroup):
    """The commands of yadtq, then those of plugins, which are searched only for help or a name that is not built in."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names."""
        self._add_offered(complain)
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name; None when there is none. Raises PluginError if its plugin is missing."""
        if cmd_name not in self.commands:
            self._add_offered(None)
        if cmd_name not in self.commands:
            _check_missing(cmd_name)
        return super().get_command(ctx, cmd_name)

    def _add_offered(self, tell: Callable[[str], None] | None) -> None:
        for offer in offers():
            if offer.error is not None and tell is not None:
                tell(f"Warning: {offer.error}")
            if offer.name not in self.commands and _NAME.fullmatch(offer.name):
                self.add_command(PluginCommand(offer))


def _check_missing(name: str) -> None:
    """Raise PluginError for a command that a plugin would add, with what to do."""
    for entry_point in blocked_entry_points(COMMANDS):
        if entry_point.name == name:
            raise PluginError(f"command {name!r} of {origin_of(entry_point)} is blocked by YADTQ_BLOCK_PLUGINS")
    if name in OF_YADTQ_LOCAL:
        raise PluginError(f"`yadtq {name}` is a command of yadtq-local: pip install 'yadtq[local]'")


class PluginCommand(TyperCommand):
    """The placeholder of a plugin's command until it is called."""

    def __init__(self, offer: Offer) -> None:
        super().__init__(offer.name, help=f"From {origin_of(offer.entry_point)}.", rich_help_panel=PANEL)
        self._offer = offer

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command and let it read its arguments."""
        command = loaded(self._offer)
        command.invoke = partial(_run, self._offer, command.invoke, has_common(command.params))
        return command.make_context(info_name, args, parent, **extra)


def loaded(offer: Offer) -> Any:
    """Import and return the command. Output of the import goes to stderr. Raises PluginError."""
    if offer.error is not None:
        raise PluginError(offer.error)
    try:
        with redirect_stdout(sys.stderr):
            return load(offer.entry_point, partial(as_command, offer.name))
    except Exception as error:
        raise PluginError(
            f"command {offer.name!r} of {offer.said} cannot be loaded: {reason(error)} {offer.remedy}"
        ) from error


def as_command(name: str, found: Any) -> Any:
    """Return an imported Typer app or function as a command. Raises PluginError for another type."""
    if inspect.isfunction(found) and not inspect.iscoroutinefunction(found):
        app = typer.Typer()
        app.command(name)(found)
    elif isinstance(found, typer.Typer):
        app = found
        if not (app.registered_commands or app.registered_groups or app.registered_callback):
            raise PluginError("its Typer app has no command")
    else:
        kind = "an async function" if inspect.iscoroutinefunction(found) else f"of type {type(found).__name__}"
        raise PluginError(f"it is {kind}; a command is a Typer app or a plain function")
    command = typer.main.get_command(app)
    command.name = name
    command.params = [one for one in command.params if one.name not in _OF_EVERY_APP]
    return command


def _run(offer: Offer, invoke: Callable[[Any], Any], common: bool, ctx: Any) -> Any:
    """Run a plugin's command. An unexpected error becomes one that names the plugin.

    common: the command takes the common options itself, so nothing is put into the environment for it.
    """
    given = ctx.find_object(CommonOptions)
    if given is not None and not common:
        given.export()
    try:
        return invoke(ctx)
    except (YadtqError, typer.Exit, typer.Abort, typer.TyperException):
        raise
    except SystemExit as error:
        if isinstance(error.code, str):
            complain(error.code)
        raise typer.Exit(error.code if isinstance(error.code, int) else int(error.code is not None)) from error
    except Exception as error:
        raise YadtqError(f"command {offer.name!r} of {offer.said} failed: {reason(error)}") from error

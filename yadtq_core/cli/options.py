"""The options of every command, before or after the command's name: addresses and logging.

`@common` adds these options to a command, which gets one `CommonOptions` as its first argument.
"""

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from yadtq_core.cli import logs
from yadtq_core.cli.output import complain
from yadtq_core.errors import InvalidInput, InvalidSetting
from yadtq_core.local_stack import addresses_found
from yadtq_core.settings import ENVIRONMENT, Loaded, Settings, duration, load

_PANEL = "Options of every command"

_COMMON: dict[str, Any] = {
    "broker": Annotated[
        str | None,
        typer.Option(help="Address of the broker, such as kafka://localhost:9092.", rich_help_panel=_PANEL),
    ],
    "backend": Annotated[
        str | None,
        typer.Option(help="Address of the backend, such as redis://localhost:6379/0.", rich_help_panel=_PANEL),
    ],
    "namespace": Annotated[
        str | None,
        typer.Option(help="Separates installations that share services.", rich_help_panel=_PANEL),
    ],
    "log_level": Annotated[
        str | None,
        typer.Option("--log-level", "-l", help="debug, info, warning or error.", rich_help_panel=_PANEL),
    ],
    "log_format": Annotated[
        str | None,
        typer.Option(help="console or json; logs go to stderr.", rich_help_panel=_PANEL),
    ],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_PANEL)],
}


class CommonOptions:
    """The common options of one command line. A later option replaces an earlier one."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.debug = False
        self._announced = False

    def take(self, values: dict[str, Any]) -> None:
        """Add the options of one place: before or after the command's name."""
        self.debug = bool(values.pop("debug", False)) or self.debug
        self.values |= {name: value for name, value in values.items() if value is not None}

    def load(self, *, quiet: bool = True, find_stack: bool = True, **more: Any) -> Loaded:
        """Return the settings in force and set up logging.

        quiet: log warnings only, unless a level is set. find_stack: use the local stack of this folder if no address
        is set. more: settings from options of the command itself.
        """
        loaded = load(self.values | more, found=addresses_found if find_stack else None)
        if loaded.origins["broker"].startswith("local stack") and not self._announced:
            complain(f"using the {loaded.origins['broker']}")
            self._announced = True
        _not_in_memory(loaded.settings)
        if loaded.settings.log_level == "debug":
            level = "debug"
        else:
            level = "warning" if quiet and loaded.origins["log_level"] == "default" else loaded.settings.log_level
        logs.set_up(level, loaded.settings.log_format)
        return loaded

    def export(self) -> None:
        """Set up logging and put the options into the environment, for a plugin's command that has its own options."""
        self.load(find_stack=False)
        os.environ.update({ENVIRONMENT[name]: str(value) for name, value in self.values.items()})


def _not_in_memory(settings: Settings) -> None:
    """Raise InvalidSetting for memory services: they end with this process, and no worker can reach them."""
    for setting, address in (("broker", settings.broker), ("backend", settings.backend)):
        if address.startswith("memory:"):
            raise InvalidSetting(
                f"{setting} = {address!r}: memory belongs to one process, no other command can see it; "
                "use it in code and tests: `yadtq dev` starts services that need no installation"
            )


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Add the common options to a command. It is called with `CommonOptions` first and its own parameters by name."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def taken(ctx: typer.Context, **values: Any) -> None:
        given: CommonOptions = ctx.ensure_object(CommonOptions)
        given.take({name: values.pop(name) for name in _COMMON})
        command(given, **values)

    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name == "debug" else None,
            annotation=annotation,
        )
        for name, annotation in _COMMON.items()
    ]
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters = [context, *own, *added]
    taken.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    taken.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return taken


def has_common(parameters: Sequence[Any]) -> bool:
    """True when a command with these parameters takes the common options."""
    return _COMMON.keys() <= {parameter.name for parameter in parameters}


def whole_number(option: str, text: str, least: int, most: int) -> int:
    """Return the number in a text of ASCII digits; `int()` would also accept `1_0` and digits of other scripts."""
    if text.isascii() and text.removeprefix("-").isdigit() and least <= int(text[:20]) <= most:
        return int(text)
    raise InvalidInput(f"{option} takes a whole number from {least} to {most}, got {text[:80]!r}")


def seconds(option: str, text: str, least: float, most: float) -> float:
    """Return the seconds of a duration such as `500ms`. Raises InvalidInput if it is out of range."""
    try:
        value = duration(text)
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {error}") from None
    if least <= value <= most:
        return value
    raise InvalidInput(f"{option} takes {least:.12g} to {most:.12g} seconds, got {text[:80]!r}")

"""Opens clients and plugins for commands. Output of a plugin's import goes to stderr.

A plugin that cannot be loaded is one line of warning, and the command continues without it.
"""

import logging
import sys
from contextlib import redirect_stdout

from yadtq_core import Client
from yadtq_core.plugin.loading import Plugins, load_plugins
from yadtq_core.plugin.registry import Registry
from yadtq_core.settings import Settings

log = logging.getLogger("yadtq.plugins")


def open_plugins() -> Plugins:
    """Return the installed plugins."""
    with redirect_stdout(sys.stderr):
        plugins = load_plugins()
    for error in plugins.errors:
        log.warning("%s", error)
    return plugins


def open_client(settings: Settings, registry: Registry | None = None) -> Client:
    """Return a client with these settings, to be closed by the caller. Raises the errors of `Client`."""
    with redirect_stdout(sys.stderr):
        return Client(settings, registry=registry)

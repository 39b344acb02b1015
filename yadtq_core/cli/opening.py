"""Clients and plugins for commands: what a plugin's code prints while it is loaded goes to stderr.

A plugin that cannot be loaded is one line of warning there, and the command goes on without it.
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
    """Return a client of these settings; to be closed. Raises as `Client` does."""
    with redirect_stdout(sys.stderr):
        return Client(settings, registry=registry)

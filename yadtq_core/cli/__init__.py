"""The command line: a thin face over the library. Only here is typer imported."""

from yadtq_core.cli.app import main

__all__ = ["main"]

"""The command line. typer is imported here only.

These names are public: a plugin's command that takes the options of every command (`@common`) and prints as yadtq's own
commands do imports them from here.
"""

from yadtq_core.cli.app import main
from yadtq_core.cli.options import CommonOptions, common, whole_number
from yadtq_core.cli.output import complain, escape, say
from yadtq_core.cli.record import progress_text

__all__ = ["CommonOptions", "common", "complain", "escape", "main", "progress_text", "say", "whole_number"]

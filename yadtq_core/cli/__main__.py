"""`python -m yadtq_core.cli`: the `yadtq` command of this Python."""

from yadtq_core.cli.app import main

main()

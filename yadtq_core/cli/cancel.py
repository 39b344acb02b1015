"""`yadtq cancel`: end tasks that have not started, and ask running ones to stop."""

from typing import Annotated

import typer

from yadtq_core import CancelCode
from yadtq_core.cli.opening import open_client
from yadtq_core.cli.options import CommonOptions, common
from yadtq_core.cli.output import complain, say, say_json
from yadtq_core.errors import TaskNotFound
from yadtq_core.model import check_id

_ANSWERS = {
    CancelCode.CANCELLED: "cancelled; it had not started",
    CancelCode.REQUESTED: "running; it was asked to stop",
    CancelCode.ENDED: "had ended already",
}


@common
def cancel(
    given: CommonOptions,
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="IDs of tasks.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per task.")] = False,
) -> None:
    """Cancel tasks. A queued or scheduled task never starts; a running one is asked to stop.

    For example:

        yadtq cancel 0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11
    """
    wanted = list(dict.fromkeys(map(check_id, ids)))
    with open_client(given.load().settings) as client:
        codes = client.cancel(wanted)
        missing = [task_id for task_id, code in zip(wanted, codes, strict=True) if code is CancelCode.MISSING]
        reasons = dict(zip(missing, client.not_found(missing), strict=True))
    for task_id, code in zip(wanted, codes, strict=True):
        if as_json:
            say_json({"task_id": task_id, "cancel": code.value})
        elif code is CancelCode.MISSING:
            complain(f"Error: {reasons[task_id]}")
        else:
            say(f"{task_id}: {_ANSWERS[code]}")
    if missing:
        raise typer.Exit(TaskNotFound.exit_code)

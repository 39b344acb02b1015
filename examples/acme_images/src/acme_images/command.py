"""The command."""

from pathlib import Path
from typing import Annotated

import typer

from acme_images.tasks import measure
from yadtq_core import Client, TaskFailed, call

app = typer.Typer()


@app.command()
def images(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The folder of the pictures.")],
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each picture.")] = 60.0,
) -> None:
    """Measure all PNG pictures of a folder in the workers.

    For example:

        yadtq images holidays
    """
    paths = sorted(folder.resolve().glob("*.png"))
    with Client.connect() as client:  # uses `yadtq --broker …`, the settings file and the environment
        handles = client.submit_many(call(measure, str(path)) for path in paths)
        for path, handle in zip(paths, handles, strict=True):
            try:
                size = handle.result(timeout=timeout)
                typer.echo(f"{path.name}: {size['width']} x {size['height']}")
            except TaskFailed as error:
                typer.echo(f"{path.name}: {error.message}")

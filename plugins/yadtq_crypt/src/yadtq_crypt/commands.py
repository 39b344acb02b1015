"""`yadtq crypt`: make keys."""

from __future__ import annotations

import base64
import secrets
import time
from typing import Annotated

import typer

from yadtq_core import InvalidSetting
from yadtq_crypt.settings import KEY_BYTES, check_id

app = typer.Typer(help="Keys for encrypted arguments and results.", no_args_is_help=True)


@app.callback()
def crypt() -> None:
    """Keys for encrypted arguments and results."""


@app.command()
def new_key(
    id: Annotated[str, typer.Option("--id", help="The key's name; default: the month, such as 2026-11.")] = "",
) -> None:
    """Print a new random key as ID=BASE64, a line for a keys_file or YADTQ_CRYPT_KEYS.

    For example:

        yadtq crypt new-key >> /etc/yadtq/keys
    """
    try:
        name = check_id(id or time.strftime("%Y-%m"))
    except InvalidSetting as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    typer.echo(f"{name}={base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}")
    typer.echo("Keep it secret, and keep a copy: what it encrypts cannot be read without it.", err=True)

"""Reads files and stdin for commands, within limits."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from yadtq_core.errors import InvalidInput

STDIN = "-"
_SKIP_BYTES = 64 * 1024 * 1024
"""The most that is read to find the end of a line that is too long: /dev/zero has no line end."""


class Line(NamedTuple):
    """One line of a file: its number from 1, its bytes, and an error if it cannot be read."""

    number: int
    data: bytes
    error: str | None = None


def lines_of(source: str, *, what: str, longest: int) -> Iterator[Line]:
    """Yield the lines of a file (`-`: stdin) that are not blank. Raises InvalidInput if it is no file.

    what: the first words of errors. longest: the limit of a line in bytes. Stops after a line without an end.
    """
    with opened(source, what) as file:
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest and not line.endswith(b"\n"):
                if not _skip_line(file):
                    yield Line(
                        number, b"", f"has no end within {_SKIP_BYTES // 1024 // 1024} MiB: is this a text file?"
                    )
                    return
                yield Line(number, b"", f"longer than {longest // 1024} KiB")
            elif line.strip():
                yield Line(number, line)


def text_of(source: str, *, what: str, most: int) -> str:
    """Return the text of a file (`-`: stdin). Raises InvalidInput if it has more than `most` bytes."""
    with opened(source, what, pipes=False) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InvalidInput(f"{what} {source!r} is larger than {most // 1024} KiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{what} {source!r} is not UTF-8 at byte {error.start}") from None


@contextmanager
def opened(source: str, what: str, *, pipes: bool = True) -> Iterator[BinaryIO]:
    """Open a file (`-`: stdin) for reading. Raises InvalidInput. pipes: accept named pipes and devices."""
    if source == STDIN:
        yield sys.stdin.buffer
        return
    if not source:
        raise InvalidInput(f"{what}: a file's name is missing")
    try:
        kind = Path(source).stat().st_mode
        if not pipes and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise InvalidInput(f"{what} {source!r} is no regular file; use a pipe: `@-` reads stdin")
        file = Path(source).open("rb")  # noqa: SIM115  (errors of the reader are not errors of opening)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
        raise InvalidInput(f"{what} {source!r}: {reason}") from None
    with file:
        yield file


def _skip_line(file: BinaryIO) -> bool:
    """Read to the end of a line. True when the line has an end."""
    left = _SKIP_BYTES
    while left > 0 and (part := file.readline(1024 * 1024)):
        if part.endswith(b"\n"):
            return True
        left -= len(part)
    return left > 0

"""What commands read from files and from stdin: bounded, checked, and never waited for without need."""

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
"""What is read at most of a line that is too long, to find its end: /dev/zero has none."""


class Row(NamedTuple):
    """One line of a file: its number, from 1, and its bytes; an error where it cannot even be read."""

    number: int
    data: bytes
    error: str | None = None


def rows_of(source: str, *, what: str, longest: int) -> Iterator[Row]:
    """Yield the lines of a file, `-` for stdin; blank ones are passed over.

    what: how errors begin. longest: bytes of a line; it ends behind a line that has no end. Raises InvalidInput
    for what is no file.
    """
    with opened(source, what) as file:
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest and not line.endswith(b"\n"):
                if not _skip_line(file):
                    yield Row(number, b"", f"has no end within {_SKIP_BYTES // 1024 // 1024} MiB: is this a text file?")
                    return
                yield Row(number, b"", f"longer than {longest // 1024} KiB")
            elif line.strip():
                yield Row(number, line)


def text_of(source: str, *, what: str, most: int) -> str:
    """Return all of a file, `-` for stdin, as text. Raises InvalidInput where it is larger than `most` bytes."""
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
    """Open a file to be read, `-` for stdin; raises InvalidInput. pipes: take named pipes and devices too."""
    if source == STDIN:
        yield sys.stdin.buffer
        return
    if not source:
        raise InvalidInput(f"{what}: a file's name is missing")
    try:
        kind = Path(source).stat().st_mode
        if not pipes and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise InvalidInput(f"{what} {source!r} is no regular file; pipe it in: `@-` reads stdin")
        file = Path(source).open("rb")  # noqa: SIM115  (what the reader raises is not to be taken for this)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
        raise InvalidInput(f"{what} {source!r}: {reason}") from None
    with file:
        yield file


def _skip_line(file: BinaryIO) -> bool:
    """Read on to the end of a line; return whether it has one."""
    left = _SKIP_BYTES
    while left > 0 and (part := file.readline(1024 * 1024)):
        if part.endswith(b"\n"):
            return True
        left -= len(part)
    return left > 0

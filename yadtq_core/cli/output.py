"""Prints text, with characters escaped that could control a terminal, and JSON in plain ASCII."""

import json
import re
import sys
from typing import Any

UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # characters that change the direction of text
    "\u2028\u2029\ufeff"  # line and paragraph separators, byte order mark
    "\ud800-\udfff]"  # lone surrogates, which cannot be printed at all
)


def escape(text: str) -> str:
    """Return the text on one line, with control characters and bidirectional controls as escapes."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str = "") -> None:
    """Print one line on stdout, escaped."""
    print(escape(text), flush=True)  # noqa: T201


def say_lines(text: str) -> None:
    """Print several lines (a traceback) on stdout, each escaped."""
    for line in text.splitlines():
        say(line)


def complain(text: str) -> None:
    """Print one line on stderr, escaped."""
    print(escape(text), file=sys.stderr, flush=True)  # noqa: T201


def say_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(to_json(value), flush=True)  # noqa: T201


def to_json(value: Any) -> str:
    """Return a value as one line of JSON in printable ASCII. `json` alone does not escape DEL."""
    return json.dumps(value).replace("\x7f", "\\u007f")

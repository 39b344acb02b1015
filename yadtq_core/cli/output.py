"""What is printed: text with everything escaped that could steer a terminal, and JSON in plain ASCII."""

import json
import re
import sys
from typing import Any

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what changes the direction of text
    "\u2028\u2029\ufeff"  # line and paragraph separators, byte order mark
    "\ud800-\udfff]"  # lone surrogates, which cannot be printed at all
)
_NOT_ASCII = re.compile("[^ -~]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape(text: str) -> str:
    """Return text on one line that does nothing to a terminal: control characters and bidi controls as escapes."""
    return _UNSAFE.sub(lambda found: _SHORT.get(found[0]) or _code(found[0]), text)


def say(text: str = "") -> None:
    """Print one line of text on stdout, escaped."""
    print(escape(text), flush=True)  # noqa: T201


def say_lines(text: str) -> None:
    """Print text of several lines (a traceback) on stdout, each line escaped."""
    for line in text.splitlines():
        say(line)


def complain(text: str) -> None:
    """Print one line of text on stderr, escaped."""
    print(escape(text), file=sys.stderr, flush=True)  # noqa: T201


def say_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(to_json(value), flush=True)  # noqa: T201


def to_json(value: Any) -> str:
    """Return a value as one line of JSON; a `Written` in it stays as it is."""
    if isinstance(value, Written):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_ascii(json.dumps(str(k)))}: {to_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(to_json(item) for item in value) + "]"
    return _ascii(json.dumps(value))


class Written:
    """JSON that stands as text already (a result): shown exactly as it was stored, number for number."""

    def __init__(self, text: str) -> None:
        self.text = _ascii(text)


def _ascii(text: str) -> str:
    """Return JSON with what is not printable ASCII as escapes: it stands only inside strings."""
    return _NOT_ASCII.sub(_code_units, text)


def _code_units(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"

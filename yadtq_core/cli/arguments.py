"""Reads a task's arguments from JSON text, strictly: `json.loads` alone accepts values that fail later in a worker.

Refused with the place and what to do: NaN and Infinity, numbers out of range, integers of more than 1,000 digits,
duplicate keys, lone surrogates, nesting deeper than 32, more than 256 KiB.
"""

import json
import math
import os
import re
from inspect import Parameter
from typing import Any, NoReturn

from yadtq_core.cli.sources import text_of
from yadtq_core.client.builder import nesting
from yadtq_core.errors import InvalidArguments
from yadtq_core.model import MAX_ARGUMENT_BYTES, MAX_NESTING
from yadtq_core.tasks.task import Task

MAX_DIGITS = 1000
"""Digits of an integer; below the limit of CPython (4,300), so that sums of such integers still print."""
_ON_COMMAND_LINE = "arguments are"
_QUOTES = "JSON strings use double quotes; wrap the whole in single quotes: '[\"a\", 1]'"
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_REASONS = {
    "Expecting value": "expected a value",
    "Expecting property name enclosed in double quotes": "expected a name in double quotes",
    "Expecting ':' delimiter": "expected ':'",
    "Unterminated string starting at": "a string that does not end begins",
    "Invalid control character at": "a control character in a string (write it as an escape)",
    "Illegal trailing comma before end of array": "a comma before the end",
    "Illegal trailing comma before end of object": "a comma before the end",
}


def parse(text: str, *, what: str = _ON_COMMAND_LINE, most: int = MAX_ARGUMENT_BYTES, depth: int = MAX_NESTING) -> Any:
    """Return the value of JSON text. Raises InvalidArguments.

    what: the first words of errors. most: the limit in bytes. depth: the limit of nested arrays and objects.
    """
    _check_bytes(text, what, most)
    if nesting(text.encode()) > depth:
        raise InvalidArguments(f"{what} nested deeper than {depth}")
    try:
        value = json.loads(
            text,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as error:
        raise InvalidArguments(_reason(text, error, what)) from None
    if "\\u" in text:
        _check_surrogates(value)
    return value


def parse_arguments(name: str, text: str | None, task: Task[..., Any] | None) -> tuple[list[Any], dict[str, Any]]:
    """Return (positional, keyword) arguments from the command line's ARGS: a JSON array or object.

    `@FILE` reads a file and `@-` stdin, because one word of a command line is limited to 128 KiB.

    task: the task if it is known here. ARGS may be left out if it needs no arguments, and cannot be an object if its
    parameters are positional only.
    """
    parameters = None if task is None else list(task.signature.parameters.values())
    if text is None and parameters is not None and all(map(_optional, parameters)):
        return [], {}
    if text is None or not text.strip():
        raise InvalidArguments(f"{name} needs a JSON array, got nothing; for example: yadtq submit {name} '[1, 2]'")
    if text.startswith("@"):
        text = text_of(text[1:], what="arguments from", most=MAX_ARGUMENT_BYTES)
    value = parse(text)
    if isinstance(value, list):
        return value, {}
    if isinstance(value, dict) and (parameters is None or any(map(_named, parameters))):
        return [], value
    named = parameters is None or any(map(_named, parameters))
    raise InvalidArguments(
        f"{name}: expected a JSON array{' or an object of named arguments' if named else ''}, got {kind(value)}"
    )


def _optional(parameter: Parameter) -> bool:
    """True when a call may leave this parameter out. An empty `*numbers` is refused: it is probably a mistake."""
    return parameter.default is not Parameter.empty or parameter.kind is Parameter.VAR_KEYWORD


def _named(parameter: Parameter) -> bool:
    return parameter.kind not in (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL)


def kind(value: Any) -> str:
    """Return the JSON name of a value's type, with its article."""
    names = {bool: "a boolean", str: "a string", list: "an array", dict: "an object", int: "a number"}
    return "null" if value is None else names.get(type(value), "a number")


def _check_bytes(text: str, what: str, most: int) -> None:
    """Raise InvalidArguments if the text is too large or not UTF-8 (Python then has surrogates in it)."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        try:
            os.fsencode(text).decode()
            place = 0
        except UnicodeDecodeError as error:
            place = error.start
        raise InvalidArguments(f"{what} not UTF-8 at byte {place}") from None
    if size > most:
        raise InvalidArguments(
            f"{what} larger than {most // 1024} KiB; "
            "put large data where the worker can fetch it, and submit its address"
        )
    if text.startswith("\ufeff"):
        raise InvalidArguments(f"{what} not plain UTF-8 at byte 0: a byte order mark; leave it out")


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidArguments("a string has a lone surrogate: \\ud800 to \\udfff without its other half") from None


def _no_constant(name: str) -> NoReturn:
    raise InvalidArguments(f"NaN and Infinity are not JSON: {name}")


def _integer(text: str) -> int:
    digits = len(text.lstrip("-"))
    if digits > MAX_DIGITS:
        raise InvalidArguments(f"integer too long: {digits} digits, limit {MAX_DIGITS}")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidArguments(f"number out of range: {text[:40]}; at most 1.8e308")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidArguments(f"the name {name[:80]!r} is twice in an object")
        found[name] = value
    return found


def _reason(text: str, error: json.JSONDecodeError, what: str) -> str:
    """Return the error with its column, and a hint if the shell has removed the quotes."""
    place = f"at column {error.colno}" if error.lineno == 1 else f"at line {error.lineno} column {error.colno}"
    if error.msg == "Extra data":
        opened = {"[": "the array", "{": "the object"}.get(text.lstrip()[:1], "the value")
        return f"unexpected text after {opened} {place}"
    if error.msg == "Expecting ',' delimiter":
        reason = f"expected ',' or '{_closing(text[: error.pos])}'"
    else:
        reason = _REASONS.get(error.msg, error.msg[:1].lower() + error.msg[1:])
    here = text[error.pos : error.pos + 1]
    unquoted = error.msg.startswith(("Expecting value", "Expecting property")) and (here == "'" or here.isalpha())
    hint = f"; {_QUOTES}" if unquoted and what == _ON_COMMAND_LINE else ""
    return f"{what} not JSON: {reason} {place}{hint}"


def _closing(text: str) -> str:
    """Return the bracket that closes the innermost array or object still open at the end of this text."""
    open_ones: list[str] = []
    for character in _STRING.sub("", text):
        if character in "[{":
            open_ones.append("]" if character == "[" else "}")
        elif character in "]}" and open_ones:
            open_ones.pop()
    return open_ones[-1] if open_ones else "]"

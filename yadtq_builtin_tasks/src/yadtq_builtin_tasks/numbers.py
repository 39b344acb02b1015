"""The check for numbers, and its messages."""

import json
import math
from collections.abc import Sequence
from typing import Any

from yadtq_core import InvalidArguments

Number = int | float

MAX_DIGITS = 4300
"""Digits of a result: CPython's limit for the conversion of an integer to text (CVE-2020-10735)."""
MAX_NUMBERS = 10_000
"""Numbers of one call."""


def check_numbers(name: str, numbers: Sequence[Any]) -> None:
    """Raise InvalidArguments with the first element that is no number."""
    if len(numbers) > MAX_NUMBERS:
        raise InvalidArguments(f"{name} takes at most {MAX_NUMBERS} numbers, got {len(numbers)}")
    for index, number in enumerate(numbers):
        if trouble := not_a_number(number):
            raise InvalidArguments(f"{name}: element {index} {trouble}")


def not_a_number(value: Any) -> str | None:
    """Return the end of a message about a value that is no finite number; None for a number."""
    if isinstance(value, bool):
        return f"is a boolean; use {int(value)}, not {json.dumps(value)}"
    if isinstance(value, int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}: NaN and Infinity are not JSON"
    if isinstance(value, str):
        return f"is a string; {_instead(value)}"
    return f"is {_kind(value)}; only numbers are taken"


def all_floats(name: str, numbers: Sequence[Number]) -> list[float]:
    """Return the numbers as floats; raises InvalidArguments for an integer out of range."""
    try:
        return [float(number) for number in numbers]
    except OverflowError:
        raise InvalidArguments(f"{name}: integer too large to mix with a float (1.8e308 at most)") from None


def too_long(name: str, digits: int) -> InvalidArguments:
    """Return the error for a result with this many digits."""
    return InvalidArguments(f"{name}: result would have {digits} digits, limit {MAX_DIGITS}")


def _instead(text: str) -> str:
    """Return a hint for a text that may be a number; shows the text escaped and cut."""
    shown = json.dumps(text[:40])
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return f"use {text.strip()[:40]}, not {shown}" if not_a_number(value) is None else f"{shown} is not a number"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    return f"of type {type(value).__name__}"

"""JSON by msgspec: the serializer that the core brings.

Stricter than JSON parsers usually are, because what passes here is read by others: NaN and Infinity, integers of
more than 4,300 digits, lone surrogates and what JSON has no word for are refused with their place in the value.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from yadtq_core.errors import SerializationError

MAX_DIGITS = 4300
"""CPython's own limit for turning an integer into text (CVE-2020-10735)."""
_SCALARS = frozenset({str, int, float, bool, type(None)})
_CONTAINERS = frozenset({dict, list, tuple})


class JsonSerializer:
    """Values as JSON text."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    def dumps(self, value: Any) -> bytes:
        """Return the value as JSON; raises SerializationError naming the place of what JSON cannot carry."""
        try:
            data = self._encode(value)
            # msgspec writes NaN and Infinity as null: only a value that shows a null can hide one.
            found = None if _all_plain(value) else _foreign(value, "$")
            if found is None and b"null" in data:
                found = _not_finite(value, "$")
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise SerializationError(_place(value) or _plain(error)) from None
        if found:
            raise SerializationError(found)
        return data

    def loads(self, data: bytes) -> Any:
        """Return the value of JSON text; raises SerializationError."""
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise SerializationError(f"not JSON: {_plain(error)}") from None


def _plain(error: Exception) -> str:
    return str(error) or type(error).__name__


def _all_plain(value: Any) -> bool:
    """Return whether all of it is of the kinds that JSON has words for: the usual case, nearly at the speed of C."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind not in _CONTAINERS:
        return False
    items = value.values() if kind is dict else value
    return _SCALARS.issuperset(map(type, items)) or all(map(_all_plain, items))


def _foreign(value: Any, place: str) -> str | None:
    """Return what msgspec would quietly turn into another kind of value (a set, bytes, a datetime, an object)."""
    if isinstance(value, dict | list | tuple):
        found = (_foreign(item, f"{place}[{key!r}]") for key, item in _items(value))
        return next((text for text in found if text), None)
    return None if value is None or isinstance(value, str | int | float) else _no_word(value, place)


def _no_word(value: Any, place: str) -> str:
    hint = "; use a list" if isinstance(value, set | frozenset) else ""
    return f"{place} is of type {type(value).__name__}, which JSON has no word for{hint}"


def _not_finite(value: Any, place: str) -> str | None:
    """Return what is wrong with the first NaN or Infinity in plain containers, None if there is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place} is {value}: NaN and Infinity are not JSON"
    for key, item in _items(value):
        if found := _not_finite(item, f"{place}[{key!r}]"):
            return found
    return None


def _place(value: Any, place: str = "$", depth: int = 0) -> str | None:
    """Return what JSON cannot carry in this value and where, None if it was not found."""
    if depth > 64:
        return f"{place[:20]}… is nested too deeply, or refers to itself"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 14_284:
        return f"{place} is an integer of more than {MAX_DIGITS} digits"
    if isinstance(value, str):
        return None if _is_utf8(value) else f"{place} is text with a lone surrogate, which UTF-8 cannot carry"
    for key, item in _items(value):
        if found := _place(item, f"{place}[{key!r}]", depth + 1):
            return found
    return None if isinstance(value, dict | list | tuple | int | float | None) else _no_word(value, place)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    return []

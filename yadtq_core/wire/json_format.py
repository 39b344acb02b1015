"""JSON by msgspec: the serializer that the core brings.

What has a word in JSON is written as it is; the rest by these rules, never by pickle, and never guessed:

- dataclasses, msgspec structs, attrs classes and models (whatever has `model_dump(mode="json")`, as pydantic's do)
  are objects, their fields by name; named tuples and tuples are arrays;
- an Enum is its value; text, integers and floats of a subclass (numpy.float64, say) are what they look like;
- `datetime`, `date` and `time` are ISO 8601 text, with the offset where they have one (a naive time gets none),
  `timedelta` is an ISO 8601 duration (`P1DT1.5S`), UUID and Decimal are text, bytes are base64 text;
- keys are text: a number, UUID, date or Enum that is a key becomes its text; other keys are refused.

Stricter than JSON libraries usually are, because what passes here is read by others: NaN and Infinity (also in
Decimals and in fields), integers of more than 4,300 digits, lone surrogates, sets (which have no order) and everything
else are refused with their place in the value. Reading gives plain values; a task's annotations make more of them.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from yadtq_core.errors import SerializationError

MAX_DIGITS = 4300
"""CPython's own limit for turning an integer into text (CVE-2020-10735)."""
MAX_BITS = 14_284
"""Integers of no more bits have at most 4,300 digits."""
MAX_PLACE = 100
"""Characters shown of where in a value something is."""
_SCALARS = frozenset({str, int, float, bool, type(None)})
_WORDED = (type(None), bytes, bytearray, memoryview, datetime.date, datetime.time, datetime.timedelta, UUID)
"""Kinds that msgspec writes by the rules above and that hide nothing; a datetime is a date."""
_NOT_FINITE = "NaN and Infinity are not JSON"
_DEEP = "is nested too deeply, or refers to itself"


class JsonSerializer:
    """Values as JSON text. Safe for use by several threads."""

    name = "json"
    content_type = "application/json"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=_reduced).encode
        self._decode = msgspec.json.Decoder().decode

    def dumps(self, value: Any) -> bytes:
        """Return the value as JSON; raises SerializationError naming the place of what JSON cannot carry."""
        try:
            data = self._encode(value)
            if not is_plain(value):
                found = _trouble(value, into_models=False)
            # msgspec writes NaN and Infinity as null: only a value that shows a null can hide one.
            elif b"null" in data:
                found = _not_finite(value)
            else:
                return data
        except Exception as error:  # fields and models are code of others, which may raise what it likes
            raise SerializationError(_reason(value, error)) from None
        if found:
            raise SerializationError(_said(found))
        return data

    def loads(self, data: bytes) -> Any:
        """Return the value of JSON text; raises SerializationError."""
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise SerializationError(f"not JSON: {_plain(error)}") from None


def is_plain(value: Any) -> bool:
    """Return whether all of it is of the kinds that JSON has words for: the usual case, nearly at the speed of C."""
    kind = type(value)
    if kind is dict:
        return not value or _SCALARS.issuperset(map(type, value.values())) or all(map(is_plain, value.values()))
    if kind in _SCALARS:
        return True
    if kind is not list and kind is not tuple:
        return False
    return _SCALARS.issuperset(map(type, value)) or all(map(is_plain, value))


_Trouble = tuple[str, str]
"""Where in a value (`['a'][2]`), and what is wrong there."""


def _said(found: _Trouble) -> str:
    place, what = found
    return f"${place if len(place) <= MAX_PLACE else place[:MAX_PLACE] + '…'} {what}"


def _plain(error: Exception) -> str:
    return str(error) or type(error).__name__


def _reason(value: Any, error: Exception) -> str:
    """Return what msgspec could not write, and where; its own words where nothing is found."""
    if isinstance(error, RecursionError):
        return f"$ {_DEEP}"
    try:
        found = _trouble(value, into_models=True)
    except RecursionError:
        return f"$ {_DEEP}"
    except Exception:
        found = None
    return _said(found) if found else _plain(error)


def _reduced(value: Any) -> Any:
    """Return what msgspec can write for a value that it does not know; raises TypeError where there is nothing."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    dump = _dump_of(value)
    if dump is None:
        raise TypeError(f"{type(value).__name__} has no word in JSON")
    dumped = dump(value, mode="json")
    if _trouble(dumped, into_models=False):
        raise TypeError(f"{type(value).__name__} holds what JSON cannot carry")
    return dumped


def _dump_of(value: Any) -> Callable[..., Any] | None:
    """Return pydantic's way to turn a model into plain values; pydantic itself is never imported."""
    dump = getattr(type(value), "model_dump", None)
    return dump if callable(dump) else None


def _trouble(value: Any, *, into_models: bool) -> _Trouble | None:
    """Return what JSON cannot carry in this value and where, None if there is nothing.

    into_models: look into models too; False where `_reduced` did, on the way.
    """
    if isinstance(value, Enum):
        return _trouble(value.value, into_models=into_models)
    if (what := _scalar_trouble(value)) is not None:
        return ("", what) if what else None
    items = _items(value)
    if items is None:
        return _object_trouble(value, into_models=into_models)
    if isinstance(value, dict) and (what := _key_trouble(value)):
        return "", what
    for key, item in items:
        if found := _trouble(item, into_models=into_models):
            return f"[{key!r}]{found[0]}", found[1]
    return None


def _scalar_trouble(value: Any) -> str | None:
    """Return what is wrong with a value that holds no others, "" if nothing is; None for one that may hold others."""
    if isinstance(value, str):
        return "" if _is_utf8(value) else "is text with a lone surrogate, which UTF-8 cannot carry"
    if isinstance(value, int):
        return f"is an integer of more than {MAX_DIGITS} digits" if value.bit_length() > MAX_BITS else ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"is {float.__repr__(value)}: {_NOT_FINITE}"
    if isinstance(value, Decimal):
        return "" if value.is_finite() else f"is {value}: {_NOT_FINITE}"
    return "" if isinstance(value, _WORDED) else None


def _key_trouble(value: dict[Any, Any]) -> str | None:
    for key in value:
        if not isinstance(key, str):
            try:
                msgspec.json.encode({key: None})
            except Exception:
                kind = type(key).__name__
                return f"has a key of type {kind}; keys are text, or a number, UUID, date or Enum that becomes it"
        elif not _is_utf8(key):
            return f"has the key {str(key)!r:.80} with a lone surrogate, which UTF-8 cannot carry"
    return None


def _items(value: Any) -> Iterator[tuple[Any, Any]] | None:
    """Return what a value holds, with names or numbers; None for a kind that is not known to hold anything."""
    if isinstance(value, dict):
        return iter(value.items())
    if isinstance(value, list | tuple):
        return iter(enumerate(value))
    kind: Any = type(value)
    names = _fields_of(kind)
    if names is None:
        return None
    held = ((name, getattr(value, field, None)) for field, name in names)
    return ((name, item) for name, item in held if item is not msgspec.UNSET)


@lru_cache(1024)
def _fields_of(kind: Any) -> tuple[tuple[str, str], ...] | None:
    """Return the fields of a class with their names in JSON; None for one that has no fields."""
    if issubclass(kind, msgspec.Struct):
        return tuple(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    if dataclasses.is_dataclass(kind):
        return tuple((field.name, field.name) for field in dataclasses.fields(kind))
    attributes = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else tuple((one.name, one.name) for one in attributes)


def _object_trouble(value: Any, *, into_models: bool) -> _Trouble | None:
    """Return what is wrong with an object that is a model, or nothing that JSON has a word for."""
    dump = _dump_of(value)
    if dump is None:
        return "", _no_word(value)
    if not into_models:
        return None
    try:
        dumped = dump(value, mode="json")
    except Exception as error:
        return "", f"cannot be written: its model_dump raised {type(error).__name__}: {error!s:.200}"
    return _trouble(dumped, into_models=True)


def _no_word(value: Any) -> str:
    hint = "; use a list" if isinstance(value, set | frozenset) else ""
    return f"is of type {type(value).__name__}, which JSON has no word for{hint}"


def _not_finite(value: Any) -> _Trouble | None:
    """Return the first NaN or Infinity in plain values, None if there is none."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return "", f"is {value}: {_NOT_FINITE}"
    if kind is dict or kind is list or kind is tuple:
        for key, item in value.items() if kind is dict else enumerate(value):
            if found := _not_finite(item):
                return f"[{key!r}]{found[0]}", found[1]
    return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

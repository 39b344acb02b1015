"""The serializer of the core: JSON, written by msgspec.

Values that JSON can represent are written as they are, and these kinds by a fixed rule, never by pickle:

- dataclasses, msgspec structs, attrs classes and models (every class with `model_dump(mode="json")`, as in pydantic)
  become objects with the fields by name; named tuples and tuples become arrays;
- an Enum becomes its value; an instance of a subclass of text, int or float (such as numpy.float64) becomes that value;
- `datetime`, `date` and `time` become ISO 8601 text, with the offset if they have one; `timedelta` becomes an
  ISO 8601 duration (`P1DT1.5S`), UUID and Decimal become text, bytes become base64 text;
- a key is text; a key that is a number, UUID, date or Enum becomes its text, and any other key is refused.

All other values are refused, and the error names their place in the value: NaN and Infinity (also in Decimals and in
fields), integers of more than 4,300 digits, lone surrogates, sets (which have no order) and other types. This is
stricter than most JSON libraries, because programs in other languages read these values. Reading returns plain values;
the annotations of a task convert them further.
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
"""The limit of CPython for the conversion of an integer into text (CVE-2020-10735)."""
MAX_BITS = 14_284
"""An integer of up to this many bits has at most 4,300 digits."""
MAX_PLACE = 100
"""Characters of a place in a value that an error shows."""
_SCALARS = frozenset({str, int, float, bool, type(None)})
_BY_MSGSPEC = (type(None), bytes, bytearray, memoryview, datetime.date, datetime.time, datetime.timedelta, UUID)
"""Kinds without items that msgspec writes by the rules above. A datetime is a date too."""
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
        """Return the value as JSON; raises SerializationError with the place of a value that JSON cannot represent."""
        try:
            data = self._encode(value)
            if not is_plain(value):
                found = _trouble(value, into_models=False)
            # msgspec writes NaN and Infinity as null: only output with a null in it can hide one.
            elif b"null" in data:
                found = _not_finite(value)
            else:
                return data
        except Exception as error:  # properties and models are foreign code, which may raise any exception
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
    """True when the value and all its items are of JSON's kinds: the usual case, checked almost at the speed of C."""
    kind = type(value)
    if kind is dict:
        return not value or _SCALARS.issuperset(map(type, value.values())) or all(map(is_plain, value.values()))
    if kind in _SCALARS:
        return True
    if kind is not list and kind is not tuple:
        return False
    return _SCALARS.issuperset(map(type, value)) or all(map(is_plain, value))


_Trouble = tuple[str, str]
"""A place in a value (`['a'][2]`), and the problem there."""


def _said(found: _Trouble) -> str:
    place, what = found
    return f"${place if len(place) <= MAX_PLACE else place[:MAX_PLACE] + '…'} {what}"


def _plain(error: Exception) -> str:
    return str(error) or type(error).__name__


def _reason(value: Any, error: Exception) -> str:
    """Return the place and the kind of the value that msgspec could not write, or the message of its error."""
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
    """Return a value that msgspec can write for one of an unknown class; raises TypeError if there is none."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    dump = _dump_of(value)
    if dump is None:
        raise TypeError(f"{type(value).__name__} is not representable in JSON")
    dumped = dump(value, mode="json")
    if _trouble(dumped, into_models=False):
        raise TypeError(f"{type(value).__name__} contains a value that JSON cannot represent")
    return dumped


def _dump_of(value: Any) -> Callable[..., Any] | None:
    """Return the method of pydantic models that returns plain values; pydantic itself is never imported."""
    dump = getattr(type(value), "model_dump", None)
    return dump if callable(dump) else None


def _trouble(value: Any, *, into_models: bool) -> _Trouble | None:
    """Return the first problem in this value and its place; None if JSON can represent all of it.

    into_models: check models too; False when `_reduced` has checked them before.
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
    """Return the problem of a value without items, "" if it has none; None for a value that may have items."""
    if isinstance(value, str):
        return "" if is_utf8(value) else "is text with a lone surrogate, which UTF-8 cannot encode"
    if isinstance(value, int):
        return f"is an integer of more than {MAX_DIGITS} digits" if value.bit_length() > MAX_BITS else ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"is {float.__repr__(value)}: {_NOT_FINITE}"
    if isinstance(value, Decimal):
        return "" if value.is_finite() else f"is {value}: {_NOT_FINITE}"
    return "" if isinstance(value, _BY_MSGSPEC) else None


def _key_trouble(value: dict[Any, Any]) -> str | None:
    for key in value:
        if not isinstance(key, str):
            try:
                msgspec.json.encode({key: None})
            except Exception:
                kind = type(key).__name__
                return f"has a key of type {kind}; a key is text, or a number, UUID, date or Enum"
        elif not is_utf8(key):
            return f"has the key {str(key)!r:.80} with a lone surrogate, which UTF-8 cannot encode"
    return None


def _items(value: Any) -> Iterator[tuple[Any, Any]] | None:
    """Return the items of a value by name or index; None for a kind that is not known to have any."""
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
    """Return the problem of a model, or of an object that JSON cannot represent."""
    dump = _dump_of(value)
    if dump is None:
        return "", _not_representable(value)
    if not into_models:
        return None
    try:
        dumped = dump(value, mode="json")
    except Exception as error:
        return "", f"cannot be written: its model_dump raised {type(error).__name__}: {error!s:.200}"
    return _trouble(dumped, into_models=True)


def _not_representable(value: Any) -> str:
    hint = "; use a list" if isinstance(value, set | frozenset) else ""
    return f"is of type {type(value).__name__}, which JSON cannot represent{hint}"


def _not_finite(value: Any) -> _Trouble | None:
    """Return the place of the first NaN or Infinity in plain values, None if there is none."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return "", f"is {value}: {_NOT_FINITE}"
    if kind is dict or kind is list or kind is tuple:
        for key, item in value.items() if kind is dict else enumerate(value):
            if found := _not_finite(item):
                return f"[{key!r}]{found[0]}", found[1]
    return None


def is_utf8(text: str) -> bool:
    """True when the text has no lone surrogate, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

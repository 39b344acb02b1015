"""Converts a value to types that MessagePack has, or raises with the place of a part that has none."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
from msgspec.msgpack import Ext

BIG_INTEGER = 1
"""yadtq's extension type of MessagePack: an integer beyond 64 bits, big-endian two's complement of the fewest bytes."""
_LEAST = -(2**63)
_MOST = 2**64 - 1
"""The range of MessagePack's integers."""
_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, UUID, Decimal)
"""Types that are text, as in yadtq's JSON; a datetime is a date."""
_SCALARS = (type(None), str, int, float, bytes, bytearray, memoryview, *_AS_TEXT)


class Refused(Exception):
    """A value without a form in MessagePack. `place` grows on the way up: `['a'][2]`."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.place = ""


def plain(value: Any) -> Any:
    """Return the value in MessagePack's types; raises Refused, or RecursionError for a value that contains itself."""
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, dict):
        return _map(value)
    if isinstance(value, list | tuple):
        return [item for _, item in _each(enumerate(value))]
    if isinstance(value, _SCALARS):
        return _scalar(value)
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    fields = _fields(value)
    return dict(_each(fields)) if fields is not None else plain(_dumped(value))


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return _utf8(str.__str__(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer(int.__index__(value))
    if isinstance(value, datetime.datetime) and value.utcoffset() is not None:
        return _instant(value)
    return msgspec.to_builtins(value) if isinstance(value, _AS_TEXT) else value


def _integer(value: int) -> int | Ext:
    if _LEAST <= value <= _MOST:
        return value
    return Ext(BIG_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _instant(value: datetime.datetime) -> datetime.datetime:
    try:
        return value.astimezone(datetime.UTC)
    except OverflowError:
        raise Refused(f"is {value.isoformat()}, which in UTC is outside of the years 1 to 9999") from None


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused("is text with a lone surrogate, which UTF-8 cannot encode") from None
    return text


def _map(value: dict[Any, Any]) -> dict[Any, Any]:
    names: dict[Any, None] = {}
    for key in value:
        name = _key(key)
        if name in names:
            raise Refused(f"has two keys that are written as {name!r:.80}")
        names[name] = None
    return dict(zip(names, (item for _, item in _each(value.items())), strict=True))


def _key(key: Any) -> Any:
    if isinstance(key, Enum):
        return _key(key.value)
    if isinstance(key, bool) or not isinstance(key, str | int | float | bytes | UUID | datetime.date):
        raise Refused(
            f"has a key of type {type(key).__name__}; keys are text, bytes, numbers, or a UUID, date or Enum of these"
        )
    try:
        name = _scalar(key)
    except Refused:
        raise Refused(f"has the key {str(key)!r:.80} with a lone surrogate, which UTF-8 cannot encode") from None
    if isinstance(name, Ext):
        raise Refused("has a key that is an integer beyond 64 bits; use its text")
    return msgspec.to_builtins(name) if isinstance(name, datetime.datetime) else name


def _each(items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    for key, item in items:
        try:
            made = plain(item)
        except Refused as refused:
            refused.place = f"[{key!r}]{refused.place}"
            raise
        yield key, made


def _struct(value: msgspec.Struct) -> Any:
    """Return a struct's fields as msgspec encodes them: with encoded names and tag, or as an array."""
    config = value.__struct_config__
    pairs = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    held = [(name, getattr(value, field)) for name, field in pairs]
    tag = [] if config.tag is None else [(config.tag_field or "type", config.tag)]
    if config.array_like:
        return [item for _, item in _each([*tag, *held])]
    return dict(_each([*tag, *_set(held)]))


def _fields(value: Any) -> Iterator[tuple[str, Any]] | None:
    """Return the fields of a dataclass or an attrs class, None for other values."""
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return _set((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    attributes = getattr(type(value), "__attrs_attrs__", None)
    return None if attributes is None else _set((one.name, getattr(value, one.name)) for one in attributes)


def _set(fields: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    return ((name, item) for name, item in fields if item is not msgspec.UNSET)


def _dumped(value: Any) -> Mapping[str, Any] | list[Any]:
    """Return the plain values of a model; raises Refused for other objects. Never imports pydantic."""
    dump = getattr(type(value), "model_dump", None)
    if not callable(dump):
        hint = "; use a list" if isinstance(value, set | frozenset) else ""
        raise Refused(f"is of type {type(value).__name__}, which yadtq-msgpack does not write{hint}")
    try:
        dumped = dump(value, mode="json")
    except Exception as error:
        raise Refused(f"cannot be written: its model_dump raised {type(error).__name__}: {error!s:.200}") from None
    if not isinstance(dumped, dict | list):
        raise Refused(f"cannot be written: its model_dump gave {type(dumped).__name__}, not plain values")
    return dumped

"""MessagePack by msgspec.

What MessagePack has a type for is written as it is and comes back as it was; the rest by the rules of yadtq's JSON:

- bytes, bytearrays and memoryviews come back as bytes; NaN and Infinity as they are;
- a datetime with an offset is the timestamp extension and comes back in UTC: the instant is kept, the offset is not.
  One without an offset says no instant, so it is ISO 8601 text, as `date`, `time` and `timedelta` are;
- integers beyond 64 bits are an extension of ours (`BIG_INTEGER`);
- dataclasses, msgspec structs, attrs classes and models (by `model_dump(mode="json")`) are maps, their fields by name;
  tuples and named tuples are arrays; an Enum is its value; UUID and Decimal are text;
- keys stay what they are where they are text, bytes or numbers; a UUID, date or Enum becomes its text or value.

Sets, which have no order, lone surrogates and everything else are refused with their place in the value.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec.msgpack import Decoder, Encoder

from yadtq_core import SerializationError
from yadtq_msgpack.plain import BIG_INTEGER, Refused, plain

MAX_PLACE = 100
"""Characters shown of where in a value something is."""
_SCALARS = frozenset(
    {str, int, float, bool, bytes, bytearray, type(None), datetime, date, time, timedelta, UUID, Decimal}
)
"""Kinds that msgspec writes by the rules above without our help; not those of a subclass."""
_TEXT = frozenset({str})
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError)


class MsgpackSerializer:
    """Values as MessagePack. Safe for use by several threads."""

    name = "msgpack"
    content_type = "application/msgpack"

    def __init__(self) -> None:
        self._encode = Encoder().encode
        self._decode = Decoder(ext_hook=_extension).decode

    def dumps(self, value: Any) -> bytes:
        """Return the value as MessagePack; raises SerializationError naming the place of what cannot be carried."""
        try:
            if _is_plain(value):
                try:
                    return self._encode(value)
                except (OverflowError, UnicodeEncodeError):
                    pass  # a big integer is written below; a lone surrogate is refused, and an instant of no year
            return self._encode(plain(value))
        except Refused as refused:
            place = refused.place if len(refused.place) <= MAX_PLACE else refused.place[:MAX_PLACE] + "…"
            raise SerializationError(f"${place} {refused.what}") from None
        except RecursionError:
            raise SerializationError("$ is nested too deeply, or refers to itself") from None
        except Exception as error:  # fields and time zones are code of others, which may raise what it likes
            raise SerializationError(f"$ cannot be read: {type(error).__name__}: {error!s:.200}") from None

    def loads(self, data: bytes) -> Any:
        """Return the value of MessagePack; raises SerializationError."""
        try:
            return self._decode(data)
        except _UNREADABLE as error:
            raise SerializationError(f"not MessagePack: {str(error) or type(error).__name__}") from None


def _is_plain(value: Any) -> bool:
    """Return whether all of it is of kinds that need no change: the usual case, nearly at the speed of C."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict:
        return _TEXT.issuperset(map(type, value)) and _are_plain(value.values())
    return (kind is list or kind is tuple) and _are_plain(value)


def _are_plain(values: Iterable[Any]) -> bool:
    return _SCALARS.issuperset(map(type, values)) or all(map(_is_plain, values))


def _extension(code: int, data: memoryview) -> int:
    if code != BIG_INTEGER:
        raise ValueError(f"extension {code} is not known here; a newer yadtq-msgpack may know it")
    return int.from_bytes(data, "big", signed=True)

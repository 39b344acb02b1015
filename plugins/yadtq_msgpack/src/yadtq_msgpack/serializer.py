"""MessagePack by msgspec.

Values of MessagePack's types keep their type. All others follow the rules of yadtq's JSON:

- bytes, bytearrays and memoryviews come back as bytes; NaN and Infinity are kept;
- a datetime with an offset is the timestamp extension and comes back in UTC: the instant is kept, the offset is not.
  A datetime without an offset is no instant, so it is ISO 8601 text, like `date`, `time` and `timedelta`;
- integers beyond 64 bits are an extension type (`BIG_INTEGER`);
- dataclasses, msgspec structs, attrs classes and models (by `model_dump(mode="json")`) are maps, their fields by name;
  tuples and named tuples are arrays; an Enum is its value; UUID and Decimal are text;
- keys that are text, bytes or numbers are kept; a UUID, date or Enum becomes its text or value.

Sets (they have no order), lone surrogates and all other types are refused, with their place in the value.
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
"""Characters of a place that a message shows."""
_SCALARS = frozenset(
    {str, int, float, bool, bytes, bytearray, type(None), datetime, date, time, timedelta, UUID, Decimal}
)
"""Types, without subclasses, that msgspec encodes by the rules above."""
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
        """Return the value as MessagePack; raises SerializationError with the place of a part that has no form."""
        try:
            if _is_plain(value):
                try:
                    return self._encode(value)
                except (OverflowError, UnicodeEncodeError):
                    pass  # `plain` encodes big integers, and raises for lone surrogates and instants out of range
            return self._encode(plain(value))
        except Refused as refused:
            place = refused.place if len(refused.place) <= MAX_PLACE else refused.place[:MAX_PLACE] + "…"
            raise SerializationError(f"${place} {refused.what}") from None
        except RecursionError:
            raise SerializationError("$ is nested too deeply, or refers to itself") from None
        except Exception as error:  # fields and time zones are foreign code and may raise anything
            raise SerializationError(f"$ cannot be read: {type(error).__name__}: {error!s:.200}") from None

    def loads(self, data: bytes) -> Any:
        """Return the value of MessagePack; raises SerializationError."""
        try:
            return self._decode(data)
        except _UNREADABLE as error:
            raise SerializationError(f"not MessagePack: {str(error) or type(error).__name__}") from None


def _is_plain(value: Any) -> bool:
    """True when no part of the value needs a conversion: the usual case, nearly at the speed of C."""
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

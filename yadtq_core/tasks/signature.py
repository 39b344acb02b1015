"""The annotations of a task, compiled once into checks and conversions of its arguments.

JSON carries few types of values; the annotations define the types of the arguments. `when: datetime` converts ISO text
to a datetime, `order: Order` an object to a dataclass, struct or model, `data: bytes` base64 text to bytes.
`msgspec.convert` does it strictly: `"1"` and `true` are not accepted as int, but an int is accepted as float. An
argument without a known conversion (`Callable`, other classes, an annotation that cannot be resolved) is passed on
unchecked.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, NamedTuple, get_type_hints

import msgspec
from msgspec.inspect import (
    AnyType,
    BoolType,
    CustomType,
    DictType,
    Field,
    FloatType,
    IntType,
    ListType,
    NoneType,
    RawType,
    StrType,
    Type,
    UnionType,
    type_info,
)

from yadtq_core.errors import SerializationError
from yadtq_core.wire.json_format import JsonSerializer, is_plain

MAX_SHOWN = 80
"""Characters of a value or name that an error repeats."""
MAX_REASON = 500
"""Characters of the error of one argument: a model may report many faults."""
MAX_ERRORS = 10
"""Arguments that one error names."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_FOUND_AT = re.compile(r"(?s)(.*?)(?: - at (.*))?")
_BEGINNINGS = ("Expected ", "Invalid ", "Object ", "Number ")
"""First words of msgspec's errors. Other texts come from the class that refused the value."""
_json = JsonSerializer()

Arguments = tuple[Sequence[Any], dict[str, Any]]
"""Positional and keyword arguments of one call."""


class _Bare(str):
    """An annotation that is text (`from __future__ import annotations`): shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def shown(signature: inspect.Signature, *, returns: bool = True) -> str:
    """Return a signature as text: `(path: str, width: int = 800) -> str`; without `returns` the parameters only."""

    def bare(annotation: Any) -> Any:
        return _Bare(annotation) if isinstance(annotation, str) else annotation

    parameters = [one.replace(annotation=bare(one.annotation)) for one in signature.parameters.values()]
    result = bare(signature.return_annotation) if returns else signature.empty
    return _ADDRESS.sub("", str(signature.replace(parameters=parameters, return_annotation=result)))


class _Slot(NamedTuple):
    """The values that one parameter accepts: those of `kinds` unchanged, others if they convert to `type`."""

    type: Any
    kinds: frozenset[type]


class Signature:
    """The parameters of one function. Safe for use by several threads."""

    def __init__(self, function: Callable[..., Any], signature: inspect.Signature) -> None:
        names = getattr(inspect.unwrap(function), "__globals__", {})
        self._parameters = list(signature.parameters.values())
        self._slots = {one.name: _slot(one, names) for one in self._parameters}
        by_place = [one for one in self._parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        self._by_place = [one.name for one in by_place]
        self._by_name = {
            one.name for one in self._parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        }
        self._rest = next((one.name for one in self._parameters if one.kind is one.VAR_POSITIONAL), None)
        self._named_rest = next((one.name for one in self._parameters if one.kind is one.VAR_KEYWORD), None)
        further = (self._rest, self._named_rest)
        self._needed = {p.name for p in self._parameters if p.default is p.empty and p.name not in further}
        self.fits = _quick(by_place, self._slots, self._parameters)
        """True when these positional arguments fit without a conversion: a fast path for the usual case."""

    def convert(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Arguments, list[str]]:
        """Return the arguments converted to the annotations, and one error text for each that does not fit.

        They may come from a message or from a caller: a dataclass is converted like the object that it serializes to.
        """
        errors = list(self._misfits(args, kwargs))
        positional = [self._one(*self._place(index), value, errors) for index, value in enumerate(args)]
        named = {name: self._one(*self._named(name), value, errors) for name, value in kwargs.items()}
        if len(errors) > MAX_ERRORS:
            errors[MAX_ERRORS:] = [f"and {len(errors) - MAX_ERRORS} more"]
        return (positional, named), errors

    def _misfits(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[str]:
        """Yield the errors in the number and the names of the arguments."""
        if len(args) > len(self._by_place) and self._rest is None:
            yield "too many positional arguments"
        placed = set(self._by_place[: len(args)])
        for one in self._parameters:
            if one.name in placed:
                if one.name in kwargs and one.name in self._by_name:
                    yield f"{one.name}: multiple values"
            elif one.name in self._needed and not (one.name in kwargs and one.name in self._by_name):
                yield f"{one.name}: missing"
        if self._named_rest is None:
            yield from (self._unexpected(name) for name in kwargs if name not in self._by_name)

    def _unexpected(self, name: str) -> str:
        close = difflib.get_close_matches(name[:MAX_SHOWN], self._by_name, 1)
        return f"unexpected keyword argument {name[:MAX_SHOWN]!r}" + (f" (did you mean {close[0]!r}?)" if close else "")

    def _place(self, index: int) -> tuple[str, _Slot | None]:
        """Return the name of a positional argument in errors, and the values that it accepts."""
        if index < len(self._by_place):
            return self._by_place[index], self._slots[self._by_place[index]]
        if self._rest is None:
            return "", None
        return f"{self._rest}[{index - len(self._by_place)}]", self._slots[self._rest]

    def _named(self, name: str) -> tuple[str, _Slot | None]:
        if name in self._by_name:
            return name, self._slots[name]
        return f"{name[:MAX_SHOWN]}", self._slots[self._named_rest] if self._named_rest else None

    @staticmethod
    def _one(label: str, slot: _Slot | None, value: Any, errors: list[str]) -> Any:
        """Return one argument converted; append its error, if any, to `errors`."""
        if slot is None or type(value) in slot.kinds:
            return value
        try:
            return _converted(value, slot.type)
        except SerializationError:  # the serializer will raise it with the place of the value
            return value
        except msgspec.ValidationError as error:
            errors.append(_error_text(label, str(error)))
        except Exception as error:  # the user's class may raise any error in `__post_init__`
            errors.append(f"{label}: {type(error).__name__}: {error!s:.{MAX_REASON}}")
        return value


def _quick(
    by_place: Sequence[Parameter], slots: dict[str, _Slot | None], parameters: Sequence[Parameter]
) -> Callable[[Sequence[Any]], bool]:
    """Return a fast function that is true when positional arguments fit without a conversion."""
    if any(one.kind is one.KEYWORD_ONLY and one.default is one.empty for one in parameters):
        return lambda args: False
    rest = next((one for one in parameters if one.kind is one.VAR_POSITIONAL), None)
    counts = range(
        sum(one.default is one.empty for one in by_place), len(by_place) + 1 if rest is None else sys.maxsize
    )
    kinds = [slot and slot.kinds for slot in (slots[one.name] for one in by_place)]
    last = slots[rest.name] if rest else None
    if last is None and not any(kind is not None for kind in kinds):
        return lambda args: len(args) in counts
    are_last = last.kinds.issuperset if last else None
    if are_last and not kinds:
        return lambda args: are_last(map(type, args))
    placed = len(kinds)

    def fits(args: Sequence[Any]) -> bool:
        if len(args) not in counts:
            return False
        for kind, value in zip(kinds, args, strict=False):
            if kind is not None and type(value) not in kind:
                return False
        return are_last is None or are_last(map(type, args[placed:]))

    return fits


def _slot(parameter: Parameter, names: dict[str, Any]) -> _Slot | None:
    """Return the values that a parameter accepts; None if that is unknown, so that it accepts all."""
    if parameter.annotation is parameter.empty:
        return None
    try:
        annotated = SimpleNamespace(__annotations__={"it": parameter.annotation})
        wanted = get_type_hints(annotated, names, include_extras=True)["it"]
        if parameter.default is None:
            wanted = wanted | None
        info = type_info(wanted)
    except Exception:  # the evaluation of an annotation runs code, which may raise any error
        return None
    if isinstance(info, AnyType) or not _supported(info):
        return None
    return _Slot(wanted, _exact(info))


def _supported(info: Type) -> bool:
    """True when every part of a type can be made from JSON. A class that msgspec does not know must be a model."""
    seen: list[Any] = []
    waiting: list[Any] = [info]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple):
            waiting.extend(one)
        elif isinstance(one, RawType) or (isinstance(one, CustomType) and _validator_of(one.cls) is None):
            return False
        elif isinstance(one, Type | Field) and not any(one is other for other in seen):
            seen.append(one)
            waiting.extend(getattr(one, name) for name in one.__struct_fields__ if name not in ("default", "values"))
    return True


def _exact(info: Type) -> frozenset[type]:
    """Return the Python types whose values fit without an inspection of their content."""
    if isinstance(info, UnionType):
        return frozenset().union(*map(_exact, info.types))
    match info:
        case IntType(gt=None, ge=None, lt=None, le=None, multiple_of=None):
            kind: type = int
        case FloatType(gt=None, ge=None, lt=None, le=None, multiple_of=None):
            kind = float
        case StrType(min_length=None, max_length=None, pattern=None):
            kind = str
        case BoolType():
            kind = bool
        case NoneType():
            kind = type(None)
        case ListType(item_type=AnyType(), min_length=None, max_length=None):
            kind = list
        case DictType(key_type=StrType() | AnyType(), value_type=AnyType(), min_length=None, max_length=None):
            kind = dict
        case _:
            return frozenset()
    return frozenset({kind})


def _converted(value: Any, wanted: Any) -> Any:
    """Return a value converted to its annotation, from its JSON form, as a worker does it.

    Raises SerializationError for a value that JSON cannot carry, msgspec.ValidationError for one of another type.
    """
    if is_plain(value):
        try:
            return msgspec.convert(value, wanted, str_keys=True, dec_hook=_validated)
        except msgspec.ValidationError:
            if not isinstance(value, dict | list | tuple):
                raise  # nested objects may have keys that only JSON turns into text
    return msgspec.convert(_json.loads(_json.dumps(value)), wanted, str_keys=True, dec_hook=_validated)


def _validator_of(kind: Any) -> Callable[[Any], Any] | None:
    """Return pydantic's method that makes a model from plain values; pydantic itself is never imported."""
    validate = getattr(kind, "model_validate", None)
    return validate if callable(validate) else None


def _validated(kind: Any, value: Any) -> Any:
    validate = _validator_of(kind)
    assert validate is not None
    try:
        return validate(value)
    except Exception as error:
        raise ValueError(_model_errors(error)) from None


def _model_errors(error: Exception) -> str:
    """Return the errors of a model's validation, without the values."""
    try:
        found = error.errors()  # type: ignore[attr-defined]
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in found)
    except Exception:
        return f"{type(error).__name__}: {error}"


def _error_text(label: str, said: str) -> str:
    """Return msgspec's error in yadtq's form: `width[0]: expected int, got str`."""
    found = _FOUND_AT.fullmatch(said)
    assert found is not None
    reason, place = found[1].replace("`", ""), (found[2] or "").replace("`", "")
    if place.startswith("key in "):
        place = f"{place.removeprefix('key in ')} (a key)"
    label += place.removeprefix("$")
    if reason.startswith("Invalid enum value "):
        reason = f"invalid value {reason[len('Invalid enum value ') :]:.{MAX_SHOWN}}"
    elif reason.startswith(_BEGINNINGS):
        reason = reason[:1].lower() + reason[1:]
    return f"{label}: {reason:.{MAX_REASON}}"

"""Calls: a task, or its name, with arguments and options, before it is submitted.

call(resize, "a.png", width=640).using(queue="slow")
call("add", 1, 2)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, overload

from msgspec import Struct
from msgspec.structs import replace

from yadtq_core.errors import InvalidInput
from yadtq_core.model import check_id, check_queue
from yadtq_core.tasks.task import MAX_RETRIES, Task
from yadtq_core.wire.json_format import is_utf8

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

MAX_DELAY = 365 * 86400.0
"""Longest delay in seconds, the same as for a retry. A later task is better kept in a calendar than in a queue."""
MAX_HEADER_BYTES = 8 * 1024
"""Limit of all headers of a call: they travel with the message and stay in a worker's memory while it runs."""
MAX_KEY_LENGTH = 512


class Options(Struct, frozen=True):
    """The options of a call; None: not set here."""

    delay: float | None = None
    queue: str | None = None
    retries: int | None = None
    headers: dict[str, str] | None = None
    idempotency_key: str | None = None
    id: str | None = None

    def over(self, base: Options) -> Options:
        """Return `base` with these options over it. Headers are merged; an ID replaces a key, and a key an ID."""
        if base is PLAIN or self is PLAIN:
            return base if self is PLAIN else self
        given = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        if self.headers and base.headers:
            given["headers"] = base.headers | self.headers
        if self.id is not None or self.idempotency_key is not None:
            base = replace(base, id=None, idempotency_key=None)
        return replace(base, **given)


PLAIN = Options()


class Using(TypedDict, total=False):
    """The options of `Client.using` and `Call.using`, and of a line of `yadtq submit --batch`."""

    queue: str
    """Name of the queue; default: `default`."""
    delay: float
    """Seconds until the task may run, 0 to a year."""
    idempotency_key: str
    """Calls of one task with equal keys are one task; 1 to 512 characters."""
    retries: int
    """How many runs may follow a failed one, 0 to 1000; default: as the task is declared."""
    headers: Mapping[str, str]
    """Text to text, 8 KiB in all; the task and the hooks around it can read them."""
    id: str
    """ID of the task (a UUID); calls with equal IDs are one task, as with equal keys."""


def options(**given: Any) -> Options:
    """Return checked options, given by the keys of `Using`.

    Raises InvalidInput with the keyword, the value and the allowed range.
    """
    for name, value in given.items():
        if value is not None and name in _CHECKS:  # `Options` refuses a name that is no option
            given[name] = _CHECKS[name](value)
    if given.get("id") is not None and given.get("idempotency_key") is not None:
        raise InvalidInput("id and idempotency_key exclude each other: the key makes the ID")
    return Options(**given)


@dataclass(slots=True, repr=False, eq=False)
class Call(Generic[R_co]):
    """A task, or its name, with arguments and options, for `Client.submit_many`."""

    task: Task[Any, R_co] | str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Options = PLAIN

    def using(self, **keywords: Unpack[Using]) -> Call[R_co]:
        """Return the same call with these options in addition (`Using`); raises InvalidInput."""
        return Call(self.task, self.args, self.kwargs, options(**keywords).over(self.options))

    def __repr__(self) -> str:
        return f"<call {self.task if isinstance(self.task, str) else self.task.name}>"


@overload
def call(task: Task[P, R_co], /, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]: ...
@overload
def call(task: str, /, *args: Any, **kwargs: Any) -> Call[Any]: ...
def call(task: Task[..., Any] | str, /, *args: Any, **kwargs: Any) -> Call[Any]:
    """Return a call of a task, for `submit_many`. Its arguments are checked when it is submitted."""
    return Call(task, args, kwargs)


def _check_delay(delay: float) -> float:
    number = isinstance(delay, int | float) and not isinstance(delay, bool)
    if not number or not math.isfinite(delay) or not 0 <= delay <= MAX_DELAY:
        raise InvalidInput(f"delay takes seconds from 0 to {MAX_DELAY:.0f}, got {_shown(delay)}")
    return float(delay)


def _check_retries(retries: int) -> int:
    if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= MAX_RETRIES:
        raise InvalidInput(f"retries takes a whole number from 0 to {MAX_RETRIES}, got {_shown(retries)}")
    return retries


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of headers that a message can carry; raises InvalidInput."""
    if not isinstance(headers, Mapping):
        raise InvalidInput(f"headers takes a mapping of text to text, got {_shown(headers)}")
    size = 0
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidInput(f"headers are text, got {_shown(name)}: {_shown(value)}")
        try:
            size += len(name.encode()) + len(value.encode())
        except UnicodeEncodeError:
            raise InvalidInput(f"header {_shown(name)} has a lone surrogate, which UTF-8 cannot encode") from None
    if size > MAX_HEADER_BYTES:
        raise InvalidInput(f"headers of {size} bytes; {MAX_HEADER_BYTES} at most")
    return dict(headers)


def _check_key(key: str) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_LENGTH or not is_utf8(key):
        raise InvalidInput(f"idempotency_key takes 1 to {MAX_KEY_LENGTH} characters, got {_shown(key)}")
    return key


def _shown(value: object) -> str:
    return f"{value!r:.80}"


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "delay": _check_delay,
    "queue": check_queue,
    "retries": _check_retries,
    "headers": check_headers,
    "idempotency_key": _check_key,
    "id": check_id,
}
"""By the name of each option: returns the checked value."""

"""`@task`: a named Python function and its options.

    @task
    def resize(path: str, width: int = 800) -> str: ...

    @task(name="shop.mail", retries=5)
    async def mail(address: str) -> None: ...

Calling the task calls the function, here and now. `Client.submit(resize, "a.png")` runs it on a worker.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property, update_wrapper
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, overload

from yadtq_core.errors import InvalidArguments, InvalidTask
from yadtq_core.model import check_task_name
from yadtq_core.tasks.retry import RetryPolicy
from yadtq_core.tasks.signature import Arguments, Signature, shown

P = ParamSpec("P")
R = TypeVar("R")

MAX_RETRIES = 1000
MAX_VERSION = 64
"""Characters of a task's version."""
MAX_TOLD = 200
"""Characters of a signature that a message carries."""


class Task(Generic[P, R]):
    """A task's definition.

    `name` is what workers know it by: the one given, else `module.function`; an entry point that names the
    function gives it its own name (`registry`). `retry` is its retry policy; `check`, where given, is called with
    the arguments before a submit and before a run, and raises InvalidArguments. `version` is the author's own text
    for what the task does and takes; it travels with each call.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        check: Callable[..., None] | None = None,
        version: str | None = None,
    ) -> None:
        if not callable(function) or isinstance(function, type) or not hasattr(function, "__qualname__"):
            raise InvalidTask(f"@task takes a function, got {function!r}")
        update_wrapper(self, function)  # first: a function may carry attributes named as ours (tenacity's `retry`)
        self.function = function
        self.declared_name = None if name is None else check_task_name(name)
        self.retry = retry or RetryPolicy()
        self.check = check
        self.version = None if version is None else _check_version(version)
        self.is_async = inspect.iscoroutinefunction(function)

    @property
    def place(self) -> str:
        """Where the function is: `module:function`, as an entry point's value names it."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    @property
    def name(self) -> str:
        """The declared name, else `module.function`."""
        return self.declared_name or self.place.replace(":", ".")

    def named(self, name: str) -> Task[P, R]:
        """Return this definition as workers know it, where an entry point gives it another name than its own."""
        if name == self.name:
            return self
        other = copy.copy(self)
        other.declared_name = name
        return other

    @cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.function)

    @cached_property
    def told_signature(self) -> str:
        """The parameters as text, `(path: str, width: int = 800)`, cut to what a message carries."""
        return shown(self.signature, returns=False)[:MAX_TOLD]

    @cached_property
    def _parameters(self) -> Signature:
        return Signature(self.function, self.signature)

    @cached_property
    def _fits(self) -> Callable[[Sequence[Any]], bool]:
        return self._parameters.fits

    def validate(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raise InvalidArguments unless the function can be called like this and `check` agrees.

        The arguments may be a caller's own: a dataclass passes for its type, and so does what it serialises to.
        """
        if kwargs or not self._fits(args):
            self.convert(args, kwargs)
        elif self.check is not None:
            self.check(*args)

    def convert(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments that a message carries as the function's annotations have them.

        Raises InvalidArguments with one text for each that does not fit, and whatever `check` raises.
        """
        if kwargs or not self._fits(args):
            (args, kwargs), errors = self._parameters.convert(args, kwargs)
            if errors:
                self._refuse(args, kwargs, errors)
        if self.check is not None:
            self.check(*args, **kwargs)
        return args, kwargs

    def _refuse(self, args: Sequence[Any], kwargs: dict[str, Any], errors: list[str]) -> NoReturn:
        if self.check is not None:
            try:
                self.check(*args, **kwargs)  # it may have better words for what does not fit
            except InvalidArguments:
                raise
            except Exception:  # it was not made for such arguments
                pass
        raise InvalidArguments(f"{self.__name__}{shown(self.signature, returns=False)}: {'; '.join(errors)}")

    def submitted_otherwise(self, signature: str, version: str) -> str:
        """Return what to add to an InvalidArguments where a call was submitted for another signature than this one.

        signature, version: what the message carries; "" where it carries none. Returns "" where they say nothing new.
        """
        if not signature or signature[:MAX_TOLD] == self.told_signature:
            return ""
        version = f"for version {version[:MAX_VERSION]} " if version else ""
        return f"; it was submitted {version}with {signature[:MAX_TOLD]}"

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<task {self.name}>"


class AsyncTask(Task[P, R]):
    """A task whose function is a coroutine function: calling it gives the coroutine."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
        """Return the function's coroutine."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]


class _Decorator:
    """`@task(...)` with its options, waiting for the function."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Task[..., Any]:
        return _make(function, self._options)


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    retries: int = 0,
    retry_base: float = 1.0,
    retry_most: float = 600.0,
    check: Callable[..., None] | None = None,
    version: str | None = None,
) -> _Decorator: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retries: int = 0,
    retry_base: float = 1.0,
    retry_most: float = 600.0,
    check: Callable[..., None] | None = None,
    version: str | None = None,
) -> Any:
    """Make a function a task.

    name: what workers know it by; default `module.function`, or the entry point's name.
    retries: how many runs may follow a failed one, 0 to 1000.
    retry_base, retry_most: seconds; the delay before the n-th repeat is drawn between 0 and
        min(retry_most, retry_base * 2 ** (n - 1)).
    check: called with the task's arguments before a submit (where the task can be imported) and before each run;
        raises InvalidArguments for what the task would not take. It is given them as the function's annotations
        have them; where they do not fit the annotations it is asked too, and its InvalidArguments is what is told.
    version: 1 to 64 printable characters; it travels with each call, and is told where a call no longer fits.

    Raises InvalidTask for a name, number or function that cannot be used.
    """
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MAX_RETRIES:
        raise InvalidTask(f"retries takes a whole number from 0 to {MAX_RETRIES}, got {retries!r}")
    if not 0 < retry_base <= retry_most < math.inf:
        raise InvalidTask(f"retry_base must be above 0 and at most retry_most, got {retry_base!r} and {retry_most!r}")
    policy = RetryPolicy(retries=retries, base=float(retry_base), most=float(retry_most))
    options = {"name": name, "retry": policy, "check": check, "version": version}
    return _Decorator(options) if function is None else _make(function, options)


def _make(function: Callable[..., Any], options: dict[str, Any]) -> Task[..., Any]:
    kind = AsyncTask if inspect.iscoroutinefunction(function) else Task
    return kind(function, **options)


def _check_version(version: str) -> str:
    if isinstance(version, str) and 0 < len(version) <= MAX_VERSION and version.isprintable():
        return version
    raise InvalidTask(f"version takes 1 to {MAX_VERSION} printable characters, got {version!r:.100}")

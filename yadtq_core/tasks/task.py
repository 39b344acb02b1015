"""`@task`: a named Python function and its options.

    @task
    def resize(path: str, width: int = 800) -> str: ...

    @task(name="shop.mail", retries=5)
    async def mail(address: str) -> None: ...

A call of the task calls the function in this process. `Client.submit(resize, "a.png")` runs it on a worker.
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
from yadtq_core.tasks.definition import check_definition
from yadtq_core.tasks.retry import RetryPolicy
from yadtq_core.tasks.signature import Arguments, Signature, shown

P = ParamSpec("P")
R = TypeVar("R")

MAX_RETRIES = 1000
MAX_VERSION = 64
"""Characters of a task's version."""
MAX_SIGNATURE = 200
"""Characters of a signature that a message carries."""


class Task(Generic[P, R]):
    """The definition of a task: a function and its options.

    `name`: its name in workers: the declared one, else `module.function`; an entry point that names the function
    overrides both (`registry`). `retry`: its retry policy. `check`: called with the arguments before a submit and
    before a run; raises InvalidArguments. `version`: the author's version of the task, which travels with each call.
    `defined_by`: the code of the module that defines it (`definition`).
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
        defined_by = check_definition(function, Task)
        if not callable(function) or isinstance(function, type) or not hasattr(function, "__qualname__"):
            raise InvalidTask(f"@task takes a function, got {function!r}")
        # First, because a function may have attributes of the same names (tenacity's `retry`).
        update_wrapper(self, function)
        self.function = function
        self.defined_by = defined_by
        self.declared_name = None if name is None else check_task_name(name)
        self.retry = retry or RetryPolicy()
        self.check = check
        self.version = None if version is None else _check_version(version)
        self.is_async = inspect.iscoroutinefunction(function)

    @property
    def place(self) -> str:
        """The place of the function, `module:function`, as in the value of an entry point."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    @property
    def name(self) -> str:
        """The declared name, else `module.function`."""
        return self.declared_name or self.place.replace(":", ".")

    def named(self, name: str) -> Task[P, R]:
        """Return this definition under the name that an entry point gives it."""
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
    def signature_text(self) -> str:
        """The parameters as text, `(path: str, width: int = 800)`, cut to the length that a message carries."""
        return shown(self.signature, returns=False)[:MAX_SIGNATURE]

    @cached_property
    def _parameters(self) -> Signature:
        return Signature(self.function, self.signature)

    @cached_property
    def _fits(self) -> Callable[[Sequence[Any]], bool]:
        return self._parameters.fits

    def read_signature(self) -> None:
        """Prepare the check of arguments now. Raises the errors of `inspect.signature`."""
        _ = self._fits

    def validate(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raise InvalidArguments unless the arguments fit the function and `check` accepts them.

        They may be the values of a caller: a dataclass fits its type, and so does the object that it serializes to.
        """
        if kwargs or not self._fits(args):
            self.convert(args, kwargs)
        elif self.check is not None:
            self.check(*args)

    def convert(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments of a message, converted to the types of the function's annotations.

        Raises InvalidArguments with one text for each argument that does not fit, and the errors of `check`.
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
                self.check(*args, **kwargs)  # its message may be more precise
            except InvalidArguments:
                raise
            except Exception:  # `check` expects arguments that fit
                pass
        raise InvalidArguments(f"{self.__name__}{shown(self.signature, returns=False)}: {'; '.join(errors)}")

    def signature_hint(self, signature: str, version: str) -> str:
        """Return a supplement for InvalidArguments if a call was submitted for another signature, else "".

        signature, version: those in the message; "" if it has none.
        """
        if not signature or signature[:MAX_SIGNATURE] == self.signature_text:
            return ""
        version = f"for version {version[:MAX_VERSION]} " if version else ""
        return f"; it was submitted {version}with {signature[:MAX_SIGNATURE]}"

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in this process."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<task {self.name}>"


class AsyncTask(Task[P, R]):
    """A task of a coroutine function; a call returns the coroutine."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
        """Return the function's coroutine."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]


class _Decorator:
    """`@task(...)` with options, before it is applied to the function."""

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

    name: its name in workers; default: the name of its entry point, else `module.function`.
    retries: how many runs may follow a failed one, 0 to 1000.
    retry_base, retry_most: seconds, above 0; the delay before the n-th repeat is drawn between 0 and
        min(retry_most, retry_base * 2 ** (n - 1)).
    check: called with the arguments before a submit (if the task can be imported there) and before each run; raises
        InvalidArguments for arguments that the task does not accept. It receives them converted to the annotations.
        Arguments that do not fit the annotations are passed to it as they are, and its InvalidArguments is raised.
    version: 1 to 64 printable characters; it travels with each call, and the error of a call that no longer fits
        names it.

    Returns the task, which can be called like the function. Raises InvalidTask for an unusable name, number or
    function, in the body of a class, and for a second task of the same Python name in one module.
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

"""The registry: task name -> Task, from installed packages and from the user's modules.

An entry point (group `yadtq.tasks`) names a task without importing it; `get` imports its code. Modules of the command
line or of `imports` are imported when a call first needs them, from the working directory too, and every `@task`
object in them is registered.

There is no other source of names: the task name of a message is looked up here, never imported.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from yadtq_core.errors import InvalidTask, TaskLoadError, UnknownTask, YadtqError
from yadtq_core.installed import TASKS, entry_points, load, origin_of, place_of, reason
from yadtq_core.model import check_task_name
from yadtq_core.plugin.import_lock import IMPORTING
from yadtq_core.tasks.signature import shown
from yadtq_core.tasks.task import Task

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

MAX_LISTED = 20
"""Known names that an error lists."""

AnyTask = Task[..., Any]


class TaskRow(Struct, frozen=True):
    """A row of `yadtq task list`: one registered name; `error` says why its task or module cannot be loaded."""

    name: str
    origin: str
    """Distribution and version, or the module."""
    place: str
    """`module:function`."""
    signature: str = ""
    retries: int = 0
    is_async: bool = False
    doc: str = ""
    error: str | None = None
    version: str | None = None


class Registry:
    """The tasks known to this process. Safe for use by several threads.

    imports: modules whose tasks are registered too. Nothing is imported or scanned before the first call.
    """

    def __init__(self, imports: Sequence[str] = ()) -> None:
        self._imports = tuple(dict.fromkeys(imports))
        self._offers: dict[str, list[EntryPoint]] | None = None
        self._modules: dict[str, dict[str, AnyTask]] = {}
        self._merged: dict[str, AnyTask] | None = None
        self._loaded: dict[str, AnyTask] = {}

    def names(self) -> list[str]:
        """Return all names, sorted. Imports the modules, but not the tasks of entry points.

        Raises TaskLoadError for a module that cannot be imported and for a name that two tasks claim.
        """
        for name, offers in self._offered().items():
            if len(offers) > 1:
                raise _claimed(name, *(_described(offer) for offer in offers))
        return sorted(self._offered().keys() | self._own().keys())

    def known(self, name: str) -> bool:
        """True when `get` would find a task of this name. Raises TaskLoadError for a module that cannot be imported."""
        return name in self._offered() or name in self._own()

    def get(self, name: str) -> AnyTask:
        """Return the task of this name, imported.

        Raises UnknownTask with the known names; TaskLoadError, with distribution, file and error, if its code cannot be
        loaded or if two tasks claim the name.
        """
        found = self._loaded.get(name)
        if found is None:
            offers = self._offered().get(name)
            found = self._from_plugin(offers) if offers else self._own().get(check_task_name(name))
            if found is None:
                raise unknown_task(name, self.names())
            self._loaded[name] = found
        return found

    def load_all(self) -> tuple[list[str], list[TaskLoadError]]:
        """Import every task; return the names of the loaded ones, and the errors of the others."""
        loaded, errors = [], []
        for module in self._imports:
            try:
                self._module(module)
            except (TaskLoadError, InvalidTask) as error:
                errors.append(TaskLoadError(str(error)))
                self._modules[module] = {}
        for name in sorted(self._offered().keys() | self._own().keys()):
            try:
                self.get(name)
                loaded.append(name)
            except TaskLoadError as error:
                errors.append(error)
        return loaded, errors

    def name_warnings(self) -> list[str]:
        """Return a warning for each third-party name without a dot, because such names may collide."""
        return [
            f"task {offer.name!r} of {origin_of(offer)} has no dot in its name; use a prefix, as in acme.resize"
            for offers in self._offered().values()
            for offer in offers
            if "." not in offer.name and not origin_of(offer).startswith("yadtq-")
        ]

    def name_of(self, task: AnyTask) -> str:
        """Return the name of a task in workers: of its entry point, else the declared one, else module.function.

        Imports nothing. Raises InvalidTask for a task that no worker could import, because it is defined in the
        program itself (`__main__`) or inside a function, or a lambda, and if entry point and declaration differ.
        """
        if task.function.__module__ == "__main__":
            raise InvalidTask(
                f"task {task.function.__name__!r} is defined in the program itself (__main__), where no "
                "worker can find it; put it into a module, say shop.py, and start `yadtq worker shop`"
            )
        offer = next((offer for offers in self._offered().values() for offer in offers if _names(offer, task)), None)
        if offer is not None:
            _check_declared(offer, task)
            return offer.name
        if task.declared_name is None and task.place.endswith("<lambda>"):
            raise InvalidTask(
                f"task {task.place!r} is a lambda, which has no name: define a function at the top of a module"
            )
        if task.declared_name is None and "<" in task.place:
            raise InvalidTask(
                f"task {task.place!r} is defined inside a function, where no worker can find it; "
                "define it at the top of a module"
            )
        return check_task_name(task.name)

    def describe(self) -> list[TaskRow]:
        """Return a row for each name, sorted. Imports all code; a row of a task that cannot be loaded has the error."""
        rows = [_row_of_plugin(offer, self) for offers in self._offered().values() for offer in offers]
        for module in self._imports:
            try:
                tasks = self._module(module)
            except YadtqError as error:
                rows.append(TaskRow(module, f"module {module}", module, error=str(error)))
            else:
                rows += [
                    _row(name, f"module {module}", task) for name, task in tasks.items() if name not in self._offered()
                ]
        return sorted(rows, key=lambda row: row.name)

    def _offered(self) -> dict[str, list[EntryPoint]]:
        """Return the entry points by name; a name that two distributions claim has two."""
        if self._offers is None:
            offers: dict[str, list[EntryPoint]] = {}
            for entry_point in entry_points(TASKS):
                offers.setdefault(entry_point.name, []).append(entry_point)
            self._offers = offers
        return self._offers

    def _from_plugin(self, offers: list[EntryPoint]) -> AnyTask:
        if len(offers) > 1:
            raise _claimed(offers[0].name, *(_described(offer) for offer in offers))
        return _load(offers[0])

    def _own(self) -> dict[str, AnyTask]:
        """Return the tasks of the modules by name. Raises TaskLoadError if two tasks claim one name."""
        if self._merged is None:
            with IMPORTING:
                self._merged = self._merge()
        return self._merged

    def _merge(self) -> dict[str, AnyTask]:
        found: dict[str, AnyTask] = {}
        for module in self._imports:
            for name, task in self._module(module).items():
                found[name] = _one_of(name, found.get(name, task), task)
                for offer in self._offered().get(name, ()):
                    if not _names(offer, task):
                        raise _claimed(name, task.place, _described(offer))
        return found

    def _module(self, module: str) -> dict[str, AnyTask]:
        """Return a module's tasks by name, imported once. Raises TaskLoadError if two tasks claim one name."""
        with IMPORTING:
            if module not in self._modules:
                tasks: dict[str, AnyTask] = {}
                for value in list(vars(_import(module)).values()):
                    if isinstance(value, Task):
                        name = self.name_of(value)
                        tasks[name] = _one_of(name, tasks.get(name, value), value)
                self._modules[module] = tasks
            return self._modules[module]


def unknown_task(name: str, known: Sequence[str], remedy: str = "") -> UnknownTask:
    """Return the error for a task that is not among the known ones, with the closest of their names."""
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    listed = ", ".join(known[:MAX_LISTED]) + (", …" if len(known) > MAX_LISTED else "")
    return UnknownTask(f"unknown task {name!r}; {hint}known: {listed or 'none'}{remedy}")


def _one_of(name: str, one: AnyTask, other: AnyTask) -> AnyTask:
    """Return the task of a name for which two objects were found. Raises TaskLoadError unless one replaces the other.

    After a reload the old task of a place may still have another attribute, or be imported in another module.
    """
    if one is other:
        return one
    module = sys.modules.get(one.function.__module__)
    current = getattr(module, one.function.__qualname__, None)
    if one.place != other.place or current not in (one, other):
        raise _claimed(name, one.place, other.place)
    return one if current is one else other


def _claimed(name: str, *places: str) -> TaskLoadError:
    return TaskLoadError(
        f"two tasks are named {name!r}: {' and '.join(places)}; rename or uninstall one, or block one's distribution "
        "by YADTQ_BLOCK_PLUGINS"
    )


def _described(offer: EntryPoint) -> str:
    return f"{origin_of(offer)} ({offer.value})"


def _names(offer: EntryPoint, task: AnyTask) -> bool:
    """True when an entry point names this task, by its place or by an attribute of a module already imported."""
    place = place_of(offer)
    if place == task.place:
        return True
    name, _, attribute = place.partition(":")
    module = sys.modules.get(name)
    return module is not None and vars(module).get(attribute) is task


def _check_declared(offer: EntryPoint, task: AnyTask) -> None:
    if task.declared_name not in (None, offer.name):
        raise InvalidTask(
            f"{task.place} declares the name {task.declared_name!r}, but its entry point in {origin_of(offer)} is "
            f"named {offer.name!r}: remove the name from @task"
        )


def _load(offer: EntryPoint) -> AnyTask:
    try:
        check_task_name(offer.name)
        found = load(offer)
        if not isinstance(found, Task):
            raise InvalidTask(f"it is of type {type(found).__name__}, not a task; decorate the function with @task")
        _check_declared(offer, found)
    except Exception as error:
        raise TaskLoadError(
            f"task {offer.name!r} of {origin_of(offer)} ({offer.value}) cannot be loaded: {reason(error)} "
            f"(YADTQ_BLOCK_PLUGINS={offer.name} leaves it out)"
        ) from error
    return found


def _import(module: str) -> Any:
    """Return a module, imported from the Python path or the working directory; raises TaskLoadError."""
    if not all(part.isidentifier() for part in module.split(".")):
        stem = module.removesuffix(".py").strip("./").replace("/", ".")
        hint = f"; name the module, not its file: {stem}" if module.endswith(".py") or "/" in module else ""
        raise TaskLoadError(f"not a module name: {module[:80]!r}{hint}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module + ".").startswith(error.name + "."):
            hint = _file_hint(module)
            raise TaskLoadError(f"no module {error.name!r} in {here} or on the Python path{hint}") from error
        raise TaskLoadError(f"module {module!r} cannot be imported: {reason(error)}") from error
    except (Exception, SystemExit) as error:
        raise TaskLoadError(f"module {module!r} cannot be imported: {reason(error)}") from error


def _file_hint(module: str) -> str:
    """Return a hint if a file was meant: Python reads `shop.py` as a module `py` in a package `shop`."""
    stem = module.removesuffix(".py")
    return f"; name the module, not its file: {stem}" if stem != module and find_spec(stem) else ""


def _row_of_plugin(offer: EntryPoint, registry: Registry) -> TaskRow:
    origin = origin_of(offer)
    try:
        return _row(offer.name, origin, registry.get(offer.name))
    except YadtqError as error:
        return TaskRow(offer.name, origin, place_of(offer), error=str(error))


def _row(name: str, origin: str, task: AnyTask) -> TaskRow:
    return TaskRow(
        name,
        origin,
        task.place,
        shown(task.signature),
        task.retry.retries,
        task.is_async,
        (task.function.__doc__ or "").strip(),
        version=task.version,
    )

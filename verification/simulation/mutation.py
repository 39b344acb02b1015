"""Puts a deliberate mistake into a script or a rule, for as long as a history lasts."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from msgspec import Struct

REPLACED = ("time", "threading", "secrets")
"""Modules that have stand-ins while a history happens."""


class Mutant(NamedTuple):
    """One mistake: in `where` (a file of scripts, or a module) `old` becomes `new`, at each occurrence.

    missed: why no history shows it: it does no harm, or is held by another test. Such a mutant must not be caught.
    """

    name: str
    where: str
    old: str
    new: str
    missed: str = ""

    @property
    def in_script(self) -> bool:
        """Whether it is in a script."""
        return self.where.endswith(".lua")


class OutOfDate(AssertionError):
    """The code that a mutant replaces is not there any more."""


def script_of(mutant: Mutant) -> dict[str, tuple[str, str]]:
    """Return the argument of `Server.use` for a mutant; raises OutOfDate."""
    if not mutant.in_script:
        return {}
    source = (files("yadtq_core.backends.redis") / "lua" / mutant.where).read_text("utf-8")
    if mutant.old not in source:
        raise OutOfDate(f"mutant {mutant.name!r}: {mutant.where} has no {mutant.old!r} any more")
    return {mutant.where: (mutant.old, mutant.new)}


@contextmanager
def in_force(mutant: Mutant) -> Iterator[None]:
    """Let the production module have the mistake. The functions of its classes are exchanged, the classes stay.

    Enter it while the stand-ins are installed: the mutated functions have them too.
    """
    if mutant.in_script:
        yield
        return
    module = importlib.import_module(mutant.where)
    replaced: list[tuple[Any, str, Any]] = []
    try:
        _exchange(module, _mutated(module, mutant), replaced)
        yield
    finally:
        for owner, name, original in reversed(replaced):
            setattr(owner, name, original)


def _mutated(module: ModuleType, mutant: Mutant) -> dict[str, Any]:
    """Return the names of a module made of the mutated source, with the classes and stand-ins of the one in force."""
    source = inspect.getsource(module)
    if mutant.old not in source:
        raise OutOfDate(f"mutant {mutant.name!r}: {mutant.where} has no {mutant.old!r} any more")
    names: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(source.replace(mutant.old, mutant.new), f"mutant of {mutant.where}", "exec"), names)
    return names


def _exchange(module: ModuleType, names: dict[str, Any], replaced: list[tuple[Any, str, Any]]) -> None:
    for name, original in list(vars(module).items()):
        new = names.get(name)
        if name in REPLACED:
            names[name] = original
        elif isinstance(original, type) and original.__module__ == module.__name__ and isinstance(new, type):
            if not issubclass(original, tuple | Struct):
                for attribute, value in vars(new).items():
                    if isinstance(value, FunctionType | property | staticmethod):
                        replaced.append((original, attribute, vars(original)[attribute]))
                        setattr(original, attribute, value)
            names[name] = original
        elif isinstance(new, FunctionType) and new.__module__ == module.__name__:
            replaced.append((module, name, original))
            setattr(module, name, new)

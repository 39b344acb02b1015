"""Entry points of installed distributions: offered ones, blocked ones, and the import of their code.

    YADTQ_BLOCK_PLUGINS=acme-images,squid

blocks all entry points of a distribution (`acme-images`), or every entry point of a name (`squid`), in all groups.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from yadtq_core.errors import PluginError, YadtqError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

TASKS = "yadtq.tasks"
HOOKS = "yadtq.plugins"
COMMANDS = "yadtq.commands"
BLOCK = "YADTQ_BLOCK_PLUGINS"
IMPORT_SECONDS = 45.0
"""Time limit of one import. A worker waits longer for a child to load its tasks, so the error can name the import."""
MAX_REASON = 500
"""Characters of the reason why an import failed."""
UNNAMED = "an unnamed distribution"
_OURS = str(Path(__file__).parent) + os.sep
_PYTHON = str(Path(os.__file__).parent) + os.sep
_PLACE = re.compile(r"\s*([\w.]+)\s*(?::\s*([\w.]+)\s*)?(?:\[.*\]\s*)?")


class _Hangs(BaseException):
    """Raised inside an import that takes too long. It is no Exception, so `except Exception` does not catch it."""


@cache
def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group that are not blocked, sorted by name.

    They are read once per process: later changes of installed or blocked packages have no effect.
    """
    blocked = blocked_names()
    return tuple(one for one in _installed(group) if not _names(one) & blocked)


@cache
def blocked_entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Return the blocked entry points of a group."""
    allowed = entry_points(group)
    return tuple(one for one in _installed(group) if one not in allowed)


def blocked_names() -> frozenset[str]:
    """Return the names in YADTQ_BLOCK_PLUGINS, normalized like distribution names."""
    return frozenset(_normal(name) for name in os.environ.get(BLOCK, "").split(",") if name.strip())


def origin_of(entry_point: EntryPoint) -> str:
    """Return name and version of the distribution of an entry point."""
    return " ".join(filter(None, distribution_of(entry_point)))


def distribution_of(entry_point: EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution; damaged metadata gives UNNAMED or an empty version."""
    dist = entry_point.dist
    return _name_and_version(dist) if dist is not None else (UNNAMED, "")


@lru_cache(maxsize=256)
def _name_and_version(dist: Distribution) -> tuple[str, str]:
    """Return both, read once: importlib.metadata parses the whole METADATA file at each access to either."""
    try:
        return dist.name or UNNAMED, dist.version or ""
    except Exception:  # a package that was half removed raises other errors in each version of Python
        return UNNAMED, ""


def place_of(entry_point: EntryPoint) -> str:
    """Return the place of its code, `module:name` or `module`; an invalid value is returned unchanged."""
    found = _PLACE.fullmatch(entry_point.value)
    return ":".join(filter(None, found.groups())) if found else entry_point.value


def load(entry_point: EntryPoint, finish: Callable[[Any], Any] = lambda found: found) -> Any:
    """Import the object of an entry point, and return the result of `finish` for it.

    Raises the errors of the import, and PluginError if it calls sys.exit, takes longer than IMPORT_SECONDS, or if the
    entry point names no place. The time limit works only in the main thread of a process that does not use SIGALRM.
    """
    if not _PLACE.fullmatch(entry_point.value):
        raise PluginError(f"{entry_point.value[:80]!r} is not a place of code: an entry point names module:object")
    try:
        with _bounded():
            return finish(entry_point.load())
    except (Exception, KeyboardInterrupt):
        raise
    except _Hangs as error:
        raise PluginError(f"its import has not ended after {IMPORT_SECONDS:g} s{_where(error)}") from error
    except BaseException as error:
        raise PluginError(reason(error)) from error


def reason(error: BaseException) -> str:
    """Return the reason why an import failed in one line, with file and line number."""
    if isinstance(error, YadtqError):
        return str(error)
    name = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{name}: {error.msg} ({error.filename}, line {error.lineno})"
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r}){_where(error)}"
    try:
        text = " ".join(str(error).split())
    except Exception:  # the __str__ of foreign code
        text = "(its text cannot be read)"
    text = text if len(text) <= MAX_REASON else text[:MAX_REASON] + " …"
    return (f"{name}: {text}" if text else name) + _where(error)


def _where(error: BaseException) -> str:
    """Return file and line of an error, in the code of the plugin rather than of yadtq or the standard library."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not frame.filename.startswith(_OURS)
    ]
    theirs = [frame for frame in frames if not frame.filename.startswith(_PYTHON) or "-packages" in frame.filename]
    last = (theirs or frames)[-1:]
    return "".join(f" ({frame.filename}, line {frame.lineno})" for frame in last)


@contextmanager
def _bounded() -> Iterator[None]:
    """Interrupt a body that takes too long, by a timer that only the main thread can have."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL or any(signal.getitimer(signal.ITIMER_REAL)):
        yield
        return
    signal.signal(signal.SIGALRM, _interrupt)
    # And again each second, in case the code swallows the first.
    signal.setitimer(signal.ITIMER_REAL, IMPORT_SECONDS, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise _Hangs


def _installed(group: str) -> list[EntryPoint]:
    from importlib import metadata  # noqa: PLC0415  (15 ms that `yadtq --help` need not pay)

    # A distribution can appear twice (an editable install whose folder is also on the path): count it once.
    unique = {(one.name, one.value, origin_of(one)): one for one in metadata.entry_points(group=group)}
    return sorted(unique.values(), key=lambda one: (one.name, origin_of(one)))


def _names(entry_point: EntryPoint) -> set[str]:
    return {_normal(entry_point.name), _normal(distribution_of(entry_point)[0])}


def _normal(name: str) -> str:
    """Return the normalized name of a distribution (PEP 503): `Acme_Images` and `acme-images` are equal."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()

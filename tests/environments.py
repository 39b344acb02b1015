"""Virtual environments outside the workspace: the requirements of yadtq, and the distributions that a test installs.

Requirements are links to what is installed where the tests run, so nothing is fetched; just those, with theirs, that
our distributions ask for, so one that is not asked for is missing. Nothing of the workspace itself is to be seen.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OURS = (ROOT, ROOT / "yadtq_builtin_tasks", *sorted(one.parent for one in ROOT.glob("plugins/*/pyproject.toml")))
"""The folders of our own distributions."""
TO_BUILD = ("hatchling>=1", "editables>=0.5")
"""What builds distributions from their sources."""

Variables = Mapping[str, str]
NOTHING: Variables = {}
Done = subprocess.CompletedProcess[str]


class Environment:
    """A virtual environment in a folder.

    requirements: of what is to be installed in it later, with extras; links to these and to theirs are made.
    """

    def __init__(self, folder: Path, requirements: Iterable[str]) -> None:
        self.folder = folder
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"
        self.python = self.bin / "python"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        for distribution in _all_of(requirements):
            for link in _tops(distribution):
                place = self.packages / link.name
                if not place.is_symlink():
                    place.symlink_to(link)
        self._write_pip()

    def _write_pip(self) -> None:
        """Write the `pip` of this environment: it fetches nothing, and builds with what is here."""
        options = "--no-index --no-build-isolation"
        if importlib.util.find_spec("pip"):
            command = f'"{sys.executable}" -m pip --python "{self.python}" install --disable-pip-version-check'
        else:
            uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
            assert uv, "neither pip nor uv is here"
            command = f'"{uv}" pip install --python "{self.python}"'
        pip = self.bin / "pip"
        pip.write_text(f'#!/bin/sh\n[ "$1" = install ] && shift && exec {command} {options} "$@"\nexit 2\n')
        pip.chmod(0o755)

    def install(self, *arguments: str | Path) -> None:
        """Install as a user would. All requirements must be present, because nothing is fetched."""
        done = self.run("pip", "install", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *words: str | Path, folder: Path | None = None, variables: Variables = NOTHING) -> Done:
        """Run one of its programs to its end: `yadtq`, `python`, `pip install`."""
        return subprocess.run(
            [self.bin / words[0], *words[1:]],
            cwd=folder or self.folder,
            env=self.environment(variables),
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def environment(self, more: Variables = NOTHING) -> dict[str, str]:
        """Return the variables of a shell in which it is activated, without those of yadtq."""
        mine = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("YADTQ_", "PYTHON", "PIP_", "UV_")) and name not in ("WORKER_ID", "COLUMNS")
        }
        return {**mine, "VIRTUAL_ENV": str(self.folder), "PATH": f"{self.bin}{os.pathsep}{mine['PATH']}", **more}


def build(sources: Iterable[Path], folder: Path) -> list[Path]:
    """Build the wheels of the distributions in these folders, into another; return them."""

    def built(source: Path) -> Path:
        out = folder / source.name
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            out,
            source,
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, f"{source}: {done.stdout}{done.stderr}"
        (wheel,) = out.glob("*.whl")
        return wheel.rename(folder / wheel.name)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(built, sources))


def name_of(source: Path) -> str:
    """Return the name of the distribution in a folder."""
    return str(tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]["name"])


def _all_of(requirements: Iterable[str]) -> Iterator[metadata.Distribution]:
    """Yield the installed distributions that these requirements want and theirs, without our own."""
    ours = {canonicalize_name(name_of(source)) for source in OURS}
    waiting = [Requirement(one) for one in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        distribution = metadata.distribution(name)
        for line in distribution.requires or ():
            other = Requirement(line)
            extras = [*wanted.extras, ""]
            if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(other)
        if name not in ours:
            yield distribution


def _tops(distribution: metadata.Distribution) -> Iterator[Path]:
    """Yield the files and folders of a distribution directly in site-packages, without `.pth` files."""
    for name in {file.parts[0] for file in distribution.files or ()}:
        if name not in ("..", "__pycache__") and not name.endswith(".pth"):
            yield Path(str(distribution.locate_file(name)))

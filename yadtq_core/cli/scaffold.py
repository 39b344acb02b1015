"""Writes a new plugin from the files in `templates/`: a package with a task, a hook and passing tests."""

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from string import Template

from yadtq_core import __version__
from yadtq_core.errors import InvalidInput

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40


def write(name: str, folder: Path) -> list[Path]:
    """Write the distribution `name` into a new folder and return its files.

    Raises InvalidInput if the name cannot be that of a distribution and a package, if a module has it already, and if
    the folder exists or cannot be created.
    """
    package = _package(name)
    if folder.exists():
        raise InvalidInput(f"{folder} exists already: choose another name, or another folder with --path")
    words = {
        "distribution": name,
        "package": package,
        "capitals": package.upper(),
        "release": wanted(__version__),
    }
    written = []
    try:
        for template in sorted(one for one in _TEMPLATES.rglob("*.in")):
            file = folder / _place(template, package)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template(template.read_text("utf-8")).safe_substitute(words), "utf-8")
            written.append(file)
    except OSError as error:
        raise InvalidInput(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    return written


def _package(name: str) -> str:
    """Return the name of a distribution's package. Raises InvalidInput for an impossible name."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        likely = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST].rstrip("-")
        hint = f"; did you mean {likely}?" if likely != name and _NAME.fullmatch(likely) else ""
        raise InvalidInput(f"not a name: {name[:80]!r}; use words of a-z and 0-9 with '-' between: acme-images{hint}")
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names:
        raise InvalidInput(f"{package} is a name of Python itself: choose one like acme-{name}")
    if package == "yadtq" or importlib.util.find_spec(package):
        hint = "another" if name.startswith("acme-") else f"one like acme-{name}"
        raise InvalidInput(f"{package} is the name of a package that is installed here: choose {hint}")
    return package


def _place(template: Path, package: str) -> Path:
    """Return the path of a template's file: `src/tasks.py.in` becomes `src/acme_images/tasks.py`."""
    place = template.relative_to(_TEMPLATES).with_suffix("")
    if place.parts[0] == "src":
        return Path("src", package, *place.parts[1:])
    return place.with_name(place.name.replace("test_package", f"test_{package}"))


def wanted(version: str) -> str:
    """Return the version range for a plugin written with this release: up to the next one that may break it."""
    major, minor = map(int, version.split(".")[:2])
    return f">={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"

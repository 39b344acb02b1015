"""Plugins as people install them: from a folder, editable, in a namespace package; and the one that we write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.environments import ROOT, TO_BUILD, Environment, build

pytestmark = pytest.mark.timeout(300)

PROJECT = """
[build-system]
requires = ["hatchling>=1"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"
dependencies = ["yadtq>=0.1"]

[project.entry-points."yadtq.tasks"]
"{task}" = "{place}"

[tool.hatch.build.targets.wheel]
packages = ["src/{top}"]
"""
TASK = "from yadtq_core import task\n@task\ndef {name}(path: str) -> str: return path\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel of yadtq, and with what builds others."""
    folder = tmp_path_factory.mktemp("place")
    wheels = folder / "wheels"
    wheels.mkdir()
    made = Environment(folder / "venv", ["yadtq", "pytest", *TO_BUILD])
    made.install(*build([ROOT], wheels))
    return made


def source(folder: Path, name: str, module: str, task: str, version: str = "1.0") -> Path:
    """Write a distribution whose module offers one task, named as the function in it."""
    at = folder / name
    file = (at / "src" / Path(*module.split("."))).with_suffix(".py")
    file.parent.mkdir(parents=True)
    file.write_text(TASK.format(name=task.rpartition(".")[2]))
    where = f"{module}:{task.rpartition('.')[2]}"
    top = module.partition(".")[0]
    (at / "pyproject.toml").write_text(PROJECT.format(name=name, version=version, task=task, place=where, top=top))
    return at


def listed(place: Environment) -> dict[str, dict[str, str | None]]:
    """Return what `yadtq task list` says, by name; this imports each task."""
    done = place.run("yadtq", "task", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"]: {key: row[key] for key in ("origin", "place", "error")} for row in rows}


def test_a_folder_and_an_editable_install_share_a_namespace_package(place: Environment, tmp_path: Path) -> None:
    images = source(tmp_path, "acme-pictures", "acme.pictures", "acme.resize")
    mail = source(tmp_path, "acme-mail", "acme.mail", "acme.send", "2.1")
    place.install(images)
    place.install("-e", mail)
    assert listed(place) == {
        "acme.resize": {"origin": "acme-pictures 1.0", "place": "acme.pictures:resize", "error": None},
        "acme.send": {"origin": "acme-mail 2.1", "place": "acme.mail:send", "error": None},
    }
    file = mail / "src/acme/mail.py"
    file.write_text(file.read_text().replace("@task", "@task(retries=4)"))
    done = place.run("yadtq", "task", "list", "acme.send", "--json")
    assert json.loads(done.stdout)["retries"] == 4


def test_a_new_plugin_installs_and_its_own_test_passes(place: Environment, tmp_path: Path) -> None:
    done = place.run("yadtq", "plugin", "new", "acme-words", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "acme-words"
    place.install("-e", folder)
    done = place.run("python", "-m", "pytest", "-q", "-W", "error", folder=folder)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^4 passed", done.stdout, re.MULTILINE)
    assert listed(place)["acme_words.shorten"]["origin"] == "acme-words 0.1.0"
    assert "plugin acme-words (acme_words.hooks:SlowRuns)" in place.run("yadtq", "plugin", "list").stdout
    done = place.run("yadtq", "config", "--json", folder=folder)
    assert json.loads(done.stdout)["acme_words"] == {"slow_seconds": 10.0}

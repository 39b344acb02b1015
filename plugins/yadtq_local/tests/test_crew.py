"""The files that `yadtq dev` watches."""

from __future__ import annotations

from pathlib import Path

import pytest

from yadtq_local.crew import Crew


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def watched(*modules: str) -> set[str]:
    return {path.name for path in Crew(0, [], {}, modules).files()}


def test_a_module_is_one_file(here: Path) -> None:
    (here / "watched_one.py").touch()
    assert watched("watched_one") == {"watched_one.py"}


@pytest.mark.parametrize("marker", [True, False], ids=["package", "namespace package"])
def test_a_package_is_all_its_files(here: Path, marker: bool) -> None:
    name = f"watched_package_{marker}".lower()
    below = here / name / "below"
    below.mkdir(parents=True)
    for file in (here / name / "mail.py", below / "deep.py", here / name / "notes.txt"):
        file.touch()
    if marker:
        (here / name / "__init__.py").touch()
    assert watched(f"{name}.mail") >= {"mail.py", "deep.py"}
    assert "notes.txt" not in watched(f"{name}.mail")


def test_what_is_not_there_or_has_no_file_is_not_watched(here: Path) -> None:
    assert watched("watched_nowhere", "sys", "") == set()

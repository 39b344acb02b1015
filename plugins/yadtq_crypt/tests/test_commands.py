"""`yadtq crypt new-key`."""

from __future__ import annotations

import re
import time
from importlib.metadata import entry_points

import pytest
from typer.testing import CliRunner

from yadtq_crypt.commands import app
from yadtq_crypt.settings import CryptSettings, keys_of


def test_a_new_key_is_a_line_that_the_settings_take() -> None:
    months = {time.strftime("%Y-%m")}
    done = CliRunner().invoke(app, ["new-key"])
    months.add(time.strftime("%Y-%m"))
    assert done.exit_code == 0
    (name,) = keys_of(CryptSettings(keys=done.stdout))
    assert name in months
    assert "cannot be read without it" in done.stderr


def test_no_two_keys_are_the_same() -> None:
    made = [CliRunner().invoke(app, ["new-key", "--id", "k"]).stdout for _ in range(20)]
    assert all(re.fullmatch(r"k=[A-Za-z0-9+/]{43}=\n", line) for line in made)
    assert len(set(made)) == 20


@pytest.mark.parametrize("name", ["a b", "-x", "k" * 65, "k=v", "k,l", "#k"])
def test_an_id_that_settings_would_not_take_is_refused(name: str) -> None:
    done = CliRunner().invoke(app, ["new-key", f"--id={name}"])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "is no ID of a key: use letters" in done.stderr


def test_yadtq_finds_it_by_its_entry_point() -> None:
    (found,) = entry_points(group="yadtq.commands", name="crypt")
    assert found.load() is app

"""Commands of plugins: listed without an import, loaded when called, and named if they cannot be loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from tests.distributions import Distributions
from yadtq_core.cli.app import build, run
from yadtq_core.cli.commands import BUILT_IN
from yadtq_core.settings import ENVIRONMENT

IMAGES = """
import os
import typer
from yadtq_core.cli import CommonOptions, common, say, whole_number
app = typer.Typer()

@app.command()
def shrink(path: str, width: int = 80) -> None:
    "Shrink a picture."
    print(f"{path} {width} in {os.environ.get('YADTQ_NAMESPACE')}")

@app.command()
def grow(path: str) -> None:
    raise ValueError("no\\nmemory")

def plain(path: str, times: int = 1) -> None:
    "Say a path."
    print(path * times)

def leaves(code: str) -> None:
    raise SystemExit(int(code) if code.isdigit() else code)

def refuses() -> None:
    from yadtq_core import InvalidInput
    raise InvalidInput("not so")

def answers() -> int:
    return 9

async def slowly() -> None: ...

@common
def kept(given: CommonOptions, *, times: str = "1") -> None:
    "Say the namespace."
    say(f"{whole_number('--times', times, 1, 9)} {given.load().settings.namespace} {os.environ.get('YADTQ_NAMESPACE')}")

number = 5
empty = typer.Typer()
"""


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ENVIRONMENT.values():  # a plugin's command leaves its settings in the environment: restore it
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    with Distributions(tmp_path / "site", monkeypatch) as made:
        yield made


def offered(installed: Distributions, **commands: str) -> None:
    installed.add("acme-images", "1.2", IMAGES, commands={name: f"acme_images:{at}" for name, at in commands.items()})


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    return line


def test_the_built_in_names_are_those_of_the_commands() -> None:
    app = get_command(build())
    assert set(getattr(app, "commands")) == BUILT_IN  # noqa: B009  (of a class that typer does not name)


def test_help_lists_commands_by_name_and_imports_none(
    installed: Distributions, capsys: pytest.CaptureFixture[str]
) -> None:
    offered(installed, images="app")
    assert run(["--help"]) == 0
    output = capsys.readouterr()
    assert "Commands of plugins" in output.out
    assert "images     From acme-images 1.2." in output.out
    assert output.err == ""
    assert "acme_images" not in sys.modules


def test_an_app_gets_the_options_before_its_name(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    offered(installed, images="app")
    assert run(["--namespace", "shop", "images", "shrink", "a.png", "--width", "9"]) == 0
    assert capsys.readouterr().out == "a.png 9 in shop\n"


def test_its_help_is_its_own(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    offered(installed, images="app")
    assert run(["images", "-h"]) == 0
    shown = capsys.readouterr().out
    assert "shrink" in shown
    assert "install-completion" not in shown


def test_a_function_is_a_command(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    offered(installed, tell="plain")
    assert run(["tell", "ab", "--times", "2"]) == 0
    assert capsys.readouterr().out == "abab\n"
    assert run(["tell"]) == 2
    assert capsys.readouterr().err.splitlines() == ["Error: Missing argument 'path'.", "Try: yadtq tell --help"]


def test_bad_values_before_its_name_are_refused(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    offered(installed, tell="plain")
    assert run(["--namespace", "A B", "tell", "x"]) == 2
    assert "namespace = 'A B'" in one_line(capsys)


def test_a_command_can_take_the_options_of_every_command(
    installed: Distributions, capsys: pytest.CaptureFixture[str]
) -> None:
    offered(installed, kept="kept")
    assert run(["--namespace", "a", "kept", "--times", "2", "--namespace", "shop"]) == 0
    assert capsys.readouterr().out == "2 shop None\n"
    assert run(["kept", "--times", "x"]) == 2
    assert one_line(capsys) == "Error: --times takes a whole number from 1 to 9, got 'x'"
    assert run(["kept", "--help"]) == 0
    assert "Options of every command" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (
            ["images", "grow", "a"],
            1,
            r"Error: command 'images' of acme-images 1.2 \(acme_images:app\) failed: "
            r"ValueError: no memory \(.*acme_images.py, line 14\)\n",
        ),
        (["leaves", "3"], 3, ""),
        (["leaves", "gone"], 1, "gone\n"),
        (["refuses"], 2, "Error: not so\n"),
        (["answers"], 9, ""),
    ],
)
def test_how_a_command_ends(
    installed: Distributions, capsys: pytest.CaptureFixture[str], words: list[str], code: int, text: str
) -> None:
    offered(installed, images="app", leaves="leaves", refuses="refuses", answers="answers")
    assert run(words) == code
    assert re.fullmatch(text, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("acme_images:number", "it is of type int; a command is a Typer app or a plain function"),
        ("acme_images:slowly", "it is an async function; a command is a Typer app or a plain function"),
        ("acme_images:empty", "its Typer app has no command"),
        ("acme_images:nothing", "AttributeError: module 'acme_images' has no attribute 'nothing'"),
        ("acme_missing:app", "ModuleNotFoundError: No module named 'acme_missing'"),
        ("no place", "'no place' is not a place of code: an entry point names module:object"),
    ],
)
def test_a_command_that_cannot_be_loaded_is_named(
    installed: Distributions, capsys: pytest.CaptureFixture[str], place: str, text: str
) -> None:
    installed.add("acme-images", "1.2", IMAGES, commands={"images": place})
    assert run(["images"]) == 2
    line = one_line(capsys)
    assert line.startswith("Error: command 'images' of acme-images 1.2 (")
    assert f"cannot be loaded: {text}" in line
    assert line.endswith("(YADTQ_BLOCK_PLUGINS=images leaves it out)")
    assert run(["config", "--json"]) == 0


def test_output_of_an_import_is_no_part_of_the_answer(
    installed: Distributions, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.add(
        "acme-loud", "1.0", "print('x' * 1_000_000)\ndef app(): print('done')\n", commands={"loud": "acme_loud:app"}
    )
    assert run(["loud"]) == 0
    output = capsys.readouterr()
    assert output.out == "done\n"
    assert len(output.err) == 1_000_001


def test_a_built_in_command_wins(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    offered(installed, config="app")
    assert run(["config", "--json"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith('{"broker"')
    assert output.err == ""
    assert run(["--help"]) == 0
    output = capsys.readouterr()
    assert output.err == (
        "Warning: command 'config' of acme-images 1.2 (acme_images:app) "
        "has the name of a built-in command, which runs instead "
        "(YADTQ_BLOCK_PLUGINS=config leaves it out)\n"
    )
    assert "From acme-images" not in output.out


def test_two_distributions_with_one_command_are_both_named(
    installed: Distributions, capsys: pytest.CaptureFixture[str]
) -> None:
    offered(installed, images="app")
    installed.add("other-images", "0.3", IMAGES, commands={"images": "other_images:app"})
    assert run(["images"]) == 2
    assert one_line(capsys) == (
        "Error: two commands are named 'images': acme-images 1.2 (acme_images:app) and other-images 0.3 "
        "(other_images:app); block the distribution of one with YADTQ_BLOCK_PLUGINS"
    )


def test_a_name_that_cannot_be(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    installed.add("acme-images", "1.2", IMAGES, commands={"Im ages": "acme_images:app"})
    assert run(["--help"]) == 0
    assert "'Im ages' of acme-images 1.2 (acme_images:app): a command's name consists of" in capsys.readouterr().err
    assert run(["Im ages"]) == 2
    assert "No such command 'Im ages'" in capsys.readouterr().err


def test_a_blocked_command_is_named_as_blocked(
    installed: Distributions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("YADTQ_BLOCK_PLUGINS", "acme-images")
    offered(installed, images="app")
    assert run(["images"]) == 2
    assert one_line(capsys) == "Error: command 'images' of acme-images 1.2 is blocked by YADTQ_BLOCK_PLUGINS"


@pytest.mark.parametrize("name", ["demo", "dev"])
def test_a_command_of_yadtq_local_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("yadtq_core.cli.commands.entry_points", lambda group: ())
    monkeypatch.setattr("yadtq_core.cli.commands.blocked_entry_points", lambda group: ())
    assert run([name, "--kafka"]) == 2
    assert one_line(capsys) == f"Error: `yadtq {name}` is a command of yadtq-local: pip install 'yadtq[local]'"


def test_a_misspelt_command_of_a_plugin(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    offered(installed, images="app")
    assert run(["imagse"]) == 2
    assert "No such command 'imagse'. Did you mean 'images'?" in capsys.readouterr().err


@pytest.mark.slow
def test_other_commands_do_not_even_scan_for_them() -> None:
    code = (
        "import sys; from yadtq_core import installed; from yadtq_core.cli.app import run;"
        "assert run(['query', 'x']) == 2; assert installed.entry_points.cache_info().misses == 0;"
        "assert 'importlib.metadata' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "YADTQ_NAMESPACE": "x"})

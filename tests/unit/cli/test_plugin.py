"""`yadtq plugin list`, `plugin new`, and the sections of plugins in `yadtq config`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributions import Distributions
from yadtq_core.cli import scaffold
from yadtq_core.cli.app import run

IMAGES = """
print("imported")
from msgspec import Struct
from yadtq_core import hookimpl, task

class ImagesSettings(Struct):
    width: int = 800
    api_key: str = ""
    key_file: str = ""
    store: str = ""
    logins: dict[str, str] = {}
    quick: bool = False
    limit: float | None = None

@hookimpl
def yadtq_settings(): return {"acme-images": ImagesSettings}
@hookimpl
def yadtq_heartbeat(worker): ...
@task
def resize(path: str) -> str: ...
@task
def bare() -> None: ...
def command(): ...
"""


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distributions]:
    with Distributions(tmp_path / "site", monkeypatch) as made:
        yield made


def images(installed: Distributions) -> None:
    installed.add(
        "acme-images",
        "1.2",
        IMAGES,
        tasks={"acme.resize": "acme_images:resize", "bare": "acme_images:bare"},
        hooks={"images": "acme_images"},
        commands={"images": "acme_images:command"},
    )


def broken(installed: Distributions) -> None:
    installed.add(
        "acme-bad",
        "0.1",
        "1 / 0",
        tasks={"acme.x": "acme_bad:x"},
        hooks={"bad": "acme_bad"},
        commands={"worker": "acme_bad:app"},
    )


def test_the_list_is_by_distribution(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    images(installed)
    assert run(["plugin", "list"]) == 0
    output = capsys.readouterr()
    assert (
        "acme-images 1.2\n"
        "    plugin images (acme_images): yadtq_heartbeat, yadtq_settings\n"
        "    tasks: acme.resize, bare\n"
        "    commands: images\n"
    ) in output.out
    assert "\n    tasks: add, mul, sleep, slow_task, sub\n" in output.out
    assert "Warning: task 'bare' of acme-images 1.2 has no dot in its name" in output.out
    assert output.err == "imported\n"


def test_errors_are_shown_and_are_no_failure(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    images(installed)
    broken(installed)
    assert run(["plugin", "list"]) == 0
    block = capsys.readouterr().out.partition("acme-bad 0.1\n")[2].partition("\nacme-images")[0].splitlines()
    beginnings = (
        "    Error: plugin 'bad' of acme-bad 0.1 (acme_bad) cannot be loaded: ZeroDivisionError: division by zero (",
        "    Error: task 'acme.x' of acme-bad 0.1 (acme_bad:x) cannot be loaded: ZeroDivisionError: division by zero (",
        "    Error: command 'worker' of acme-bad 0.1 (acme_bad:app) "
        "has the name of a built-in command, which runs instead (",
    )
    assert len(block) == len(beginnings)
    assert all(line.startswith(beginning) for line, beginning in zip(block, beginnings, strict=True)), block


def test_blocked_plugins_are_listed_as_blocked(
    installed: Distributions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("YADTQ_BLOCK_PLUGINS", "acme-bad")
    broken(installed)
    assert run(["plugin", "list"]) == 0
    text = "acme-bad 0.1\n    blocked by YADTQ_BLOCK_PLUGINS: plugin bad, task acme.x, command worker\n"
    assert text in capsys.readouterr().out


def test_the_list_as_json(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    images(installed)
    assert run(["plugin", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told) == ["distributions", "order", "warnings"]
    (found,) = [one for one in told["distributions"] if one["distribution"] == "acme-images"]
    assert found == {
        "distribution": "acme-images",
        "version": "1.2",
        "plugins": [
            {
                "name": "images",
                "place": "acme_images",
                "blocked": False,
                "error": None,
                "hooks": ["yadtq_heartbeat", "yadtq_settings"],
            }
        ],
        "tasks": [
            {"name": "acme.resize", "place": "acme_images:resize", "blocked": False, "error": None},
            {"name": "bare", "place": "acme_images:bare", "blocked": False, "error": None},
        ],
        "commands": [{"name": "images", "place": "acme_images:command", "blocked": False, "error": None}],
    }
    assert told["order"]["yadtq_heartbeat"] == ["images (acme-images 1.2)"]


def test_the_order_of_calls_is_shown_on_request(installed: Distributions, capsys: pytest.CaptureFixture[str]) -> None:
    installed.add(
        "acme-codes",
        "1.0",
        "from yadtq_core import hookimpl\n@hookimpl\ndef yadtq_result_serializer(task): ...\n",
        hooks={"codes": "acme_codes"},
    )
    assert run(["plugin", "list", "-v"]) == 0
    line = "yadtq_result_serializer: codes (acme-codes 1.0), yadtq's own defaults"
    assert line in capsys.readouterr().out.splitlines()


def test_a_broken_task_is_shown_with_version_and_error(
    installed: Distributions, capsys: pytest.CaptureFixture[str]
) -> None:
    broken(installed)
    assert run(["task", "list"]) == 0
    text = "acme.x\n    Error: task 'acme.x' of acme-bad 0.1 (acme_bad:x) cannot be loaded: ZeroDivisionError: "
    assert text in capsys.readouterr().out
    assert run(["task", "list", "acme.x", "--json"]) == 2
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["origin"], told["place"]) == ("acme-bad 0.1", "acme_bad:x")
    assert "ZeroDivisionError" in told["error"]


# The settings of plugins


def test_config_shows_sections_with_their_origins_and_no_secret(
    installed: Distributions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images(installed)
    file = tmp_path / "yadtq.toml"
    file.write_text(
        '[acme-images]\nwidth = 640\napi_key = "tops3cret"\nstore = "s3://me:tops3cret@host/x"\n'
        'logins = {token = "tops3cret", user = "ann"}\nkey_file = "/run/k"\n'
    )
    monkeypatch.setenv("YADTQ_ACME_IMAGES_QUICK", "true")
    assert run(["config", "--origin"]) == 0
    output = capsys.readouterr()
    assert output.out.partition("\n[acme-images]\n")[2].splitlines() == [
        f"width = 640  # {file}",
        f'api_key = "***"  # {file}',
        f'key_file = "/run/k"  # {file}',
        f'store = "s3://me:***@host/x"  # {file}',
        f'logins = {{token = "***", user = "ann"}}  # {file}',
        "quick = true  # environment YADTQ_ACME_IMAGES_QUICK",
        "# limit is not set  # default",
    ]
    assert output.err == "imported\n"
    assert run(["config", "--json", "--origin"]) == 0
    out = capsys.readouterr().out
    told = json.loads(out)
    assert "tops3cret" not in out
    assert told["acme-images"]["width"] == {"value": 640, "origin": str(file)}
    assert told["namespace"] == {"value": "main", "origin": "default"}


def test_config_as_text_is_toml_that_says_the_same(
    installed: Distributions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images(installed)
    name = 'a"b\\c\n\x1b\u202e\U0001f600'
    (tmp_path / "yadtq.toml").write_text(
        f"result_ttl = 1234567\nretention = 1.5\n[acme-images]\nstore = {json.dumps(name[:-1])}\n", "utf-8"
    )
    assert run(["config"]) == 0
    first = capsys.readouterr().out
    told = tomllib.loads(first)
    assert (told["result_ttl"], told["retention"]) == (1234567, 1.5)
    assert told["acme-images"]["store"] == name[:-1]
    assert first.isprintable() or all(line.isprintable() for line in first.splitlines())
    (tmp_path / "yadtq.toml").write_text(first, "utf-8")
    assert run(["config"]) == 0
    assert capsys.readouterr().out == first


def test_a_section_of_a_plugin_that_cannot_be_loaded(
    installed: Distributions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken(installed)
    (tmp_path / "yadtq.toml").write_text("[bad]\nx = 1\n")
    assert run(["config"]) == 2
    warned, refused = capsys.readouterr().err.splitlines()
    assert "WARNING plugin 'bad' of acme-bad 0.1 (acme_bad) cannot be loaded: ZeroDivisionError" in warned
    assert refused.startswith("Error: unknown section [bad]: no loaded plugin has it; known: ")


# A new plugin


def test_a_new_plugin_is_written_and_its_files_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugin", "new", "acme-images", "--path", "here"]) == 0
    *files, following = capsys.readouterr().out.splitlines()
    written = sorted(str(file.relative_to(tmp_path)) for file in (tmp_path / "here").rglob("*") if file.is_file())
    assert sorted(files) == written
    assert following == "next: cd here && pip install -e . pytest && python -m pytest"
    assert "$" not in "".join((tmp_path / file).read_text("utf-8") for file in files if not file.endswith("README.md"))
    told = tomllib.loads((tmp_path / "here/pyproject.toml").read_text("utf-8"))
    assert told["project"]["entry-points"] == {
        "yadtq.tasks": {"acme_images.shorten": "acme_images.tasks:shorten"},
        "yadtq.plugins": {"acme-images": "acme_images.hooks:SlowRuns"},
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Acme_Images", "not a name: 'Acme_Images'; use words of a-z and 0-9 with '-' between: acme-images; did you "),
        ("a b", "not a name: 'a b'; "),
        ("../x", "not a name: '../x'; "),
        ("", "not a name: ''; "),
        ("-x", "not a name: '-x'; "),
        ("1a", "not a name: '1a'; "),
        ("x" * 41, "not a name: 'xxxx"),
        ("ａｃｍｅ", "not a name: 'ａｃｍｅ'; "),  # noqa: RUF001
        ("email", "email is a name of Python itself: choose one like acme-email"),
        ("class", "class is a name of Python itself"),
        ("yadtq", "yadtq is the name of a package that is installed here"),
        ("yadtq-core", "yadtq_core is the name of a package that is installed here: choose one like acme-yadtq-core"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str) -> None:
    assert run(["plugin", "new", "--", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {text}")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "acme-images").mkdir()
    assert run(["plugin", "new", "acme-images"]) == 2
    assert "Error: acme-images exists already: choose another name" in capsys.readouterr().err
    assert list((tmp_path / "acme-images").iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["plugin", "new", "acme-images", "--path", "file/x"]) == 2
    assert "cannot be written: Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "release"), [("0.1.0", ">=0.1,<0.2"), ("0.12.3", ">=0.12,<0.13"), ("1.4.0", ">=1.4,<2")]
)
def test_a_new_plugin_wants_the_releases_it_was_made_for(version: str, release: str) -> None:
    assert scaffold.wanted(version) == release

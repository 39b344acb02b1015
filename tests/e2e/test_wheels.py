"""The built wheels work in fresh environments, and a plugin's task runs for a client without the plugin."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environments import OURS, ROOT, Environment, build, name_of
from tests.waiting import wait_until

EXAMPLE = ROOT / "examples" / "acme_images"
NAMES = [name_of(source) for source in OURS]
pytestmark = pytest.mark.timeout(300)  # with its fixtures; they start some twenty programs


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of all our distributions and of the example plugin."""
    folder = tmp_path_factory.mktemp("wheels")
    build([*OURS, EXAMPLE], folder)
    return folder


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Environment:
    """An environment for workers: all wheels."""
    made = Environment(tmp_path_factory.mktemp("full"), [*NAMES, "pytest"])
    made.install("--find-links", wheels, *NAMES, "acme-images")
    return made


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Environment:
    """An environment for who only submits: the wheel of yadtq."""
    made = Environment(tmp_path_factory.mktemp("bare"), ["yadtq"])
    made.install("--find-links", wheels, "yadtq")
    return made


@pytest.fixture
def services(redis_url: str, namespace: str) -> dict[str, str]:
    streams = redis_url.replace("://", "+streams://", 1)
    return {"YADTQ_BROKER": streams, "YADTQ_BACKEND": redis_url, "YADTQ_NAMESPACE": namespace, "COLUMNS": "100"}


@pytest.fixture
def worker(full: Environment, services: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of all wheels, online; its log is in `log`."""
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [full.bin / "yadtq", "worker", "-c", "1", "--id", "full"],
            env=full.environment(services),
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )

    def online() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        return "worker:full state online" in full.run("yadtq", "monitor", "--once", variables=services).stdout

    try:
        wait_until(online, "the worker is online", 60)
        yield process
    finally:
        process.kill()
        process.wait(30)


def picture(folder: Path, name: str, width: int) -> Path:
    path = folder / name
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, 480))
    return path


def test_nothing_comes_from_the_checkout(full: Environment, bare: Environment) -> None:
    code = (
        "import importlib.metadata as m, json, sys\n"
        "ours = sorted(d.name for d in m.distributions() if d.name.startswith(('yadtq', 'acme')))\n"
        "import yadtq_core\n"
        "print(json.dumps([yadtq_core.__file__, sys.path, ours]))"
    )
    for environment, names in ((full, [*NAMES, "acme-images"]), (bare, ["yadtq"])):
        done = environment.run("python", "-c", code)
        file, path, found = json.loads(done.stdout)
        assert Path(file).is_relative_to(environment.packages)
        assert not any(Path(one).is_relative_to(ROOT) for one in path if one)
        assert found == sorted(names)


def test_without_yadtq_local_its_commands_say_what_to_install(bare: Environment) -> None:
    done = bare.run("yadtq", "dev")
    assert done.returncode == 2
    assert done.stderr == "Error: `yadtq dev` is a command of yadtq-local: pip install 'yadtq[local]'\n"


def test_all_plugins_work_side_by_side(full: Environment) -> None:
    done = full.run("yadtq", "plugin", "list", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    offering = {one["distribution"] for one in told["distributions"]}
    assert offering == {*NAMES, "acme-images"} - {"yadtq"}
    items = [item for one in told["distributions"] for kind in ("plugins", "tasks", "commands") for item in one[kind]]
    assert [item for item in items if item["error"] is not None] == []
    assert told["warnings"] == []
    listed = full.run("yadtq", "--help").stdout
    assert all(f" {name} " in listed for name in ("images", "demo", "dev"))


def test_a_task_runs_for_a_client_that_does_not_have_it(
    bare: Environment,
    full: Environment,
    worker: subprocess.Popen[bytes],
    services: dict[str, str],
    tmp_path: Path,
) -> None:
    assert bare.run("python", "-c", "import acme_images").returncode == 1
    path = str(picture(tmp_path, "a.png", 640))
    done = bare.run(
        "yadtq", "submit", "acme_images.measure", json.dumps([path]), "--wait", "--timeout", "60", variables=services
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["Status: success", 'Result: {"width": 640, "height": 480}']

    picture(tmp_path, "b.png", 160)
    picture(tmp_path, "c.png", 320)
    done = full.run("yadtq", "images", tmp_path, variables=services)
    assert done.stdout.splitlines() == ["a.png: 640 x 480", "b.png: 160 x 480", "c.png: 320 x 480"], done.stderr
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert "pictures measured: 4, failed: 0" in (tmp_path / "log").read_text()


def test_the_example_s_own_tests_pass(full: Environment, tmp_path: Path) -> None:
    done = full.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout

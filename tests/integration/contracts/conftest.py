"""The services of the contract suites: the shared Kafka and Valkey, a `redis-server` if there is one, and memory."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.services import not_to_be_had
from yadtq_core.errors import Unavailable
from yadtq_core.net.redis_client import open_store

START_SECONDS = 60.0


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a `redis-server` from this machine's PATH, on a socket in a new folder."""
    program = shutil.which("redis-server")
    if program is None:
        raise not_to_be_had("there is no redis-server on PATH (apt install redis-server)")
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--port", "0", "--unixsocket", str(folder / "s"), "--dir", str(folder), "--save", ""]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield _ready(f"unix://{folder / 's'}", process, folder / "log")
    finally:
        process.terminate()
        process.wait(30)


def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address once it answers."""
    until = time.monotonic() + START_SECONDS
    with closing(open_store(url)) as store:
        while True:
            assert process.poll() is None, log.read_text(errors="replace")
            try:
                store.run("PING")
                return url
            except Unavailable:
                assert time.monotonic() < until, log.read_text(errors="replace")
                time.sleep(0.02)

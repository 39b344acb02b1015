"""Worker and commands over TLS and a login at both ends, each user with no more than what the docs grant."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration.secure.servers import PASSWORD, QUOTED, USER, SecureKafka, TlsRedis
from tests.waiting import wait_until
from yadtq_core import Client
from yadtq_core.net.redis_client import open_store

ACL = "~yadtq:* &yadtq:* +@read +@write +@scripting +@pubsub +@connection +@transaction +time -@dangerous +info"
SIGNS = ("hunter2", QUOTED)


class Place:
    """Commands and a worker in one folder, all of whose output is kept."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {"PATH": "/usr/bin:/bin", **environment}
        self.log = folder / "worker.log"
        self.said: list[str] = []

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "yadtq_core.cli", *arguments],
            env=self.environment | more,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        self.said.append(done.stdout + done.stderr)
        return done

    def start_worker(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as file:
            command = [sys.executable, "-m", "yadtq_core.cli", "worker", "--id", "one", "-l", "debug"]
            return subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=file, stderr=subprocess.STDOUT
            )

    def everything(self) -> str:
        return "\n".join([*self.said, self.log.read_text() if self.log.exists() else ""])


@pytest.fixture
def place(
    tmp_path: Path, secure_kafka: SecureKafka, make_redis: Callable[..., TlsRedis], namespace: str
) -> Iterator[Place]:
    """Services whose user has the grants of docs/clusters.md, with topics that another user provisioned."""
    redis = make_redis()
    inside = open_store(redis.plain)
    inside.run("ACL", "SETUSER", USER, "on", f">{PASSWORD}", *ACL.split())
    inside.close()
    secure_kafka.allow(namespace, ("READ", "WRITE", "DESCRIBE"), ("READ",))
    with Client.connect(secure_kafka.server.url, redis.plain, namespace=namespace, partitions=1) as client:
        client.provision()
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    made = Place(
        tmp_path,
        {
            "YADTQ_BROKER": secure_kafka.url("LOGIN", f"{USER}@", sasl="SCRAM-SHA-512", password_file=file),
            "YADTQ_BACKEND": redis.url(f"{USER}:{QUOTED}@"),
            "YADTQ_NAMESPACE": namespace,
            "YADTQ_PARTITIONS": "1",
        },
    )
    yield made
    for sign in SIGNS:
        assert sign not in made.everything()


def test_a_task_is_carried_and_no_secret_shown(place: Place) -> None:
    worker = place.start_worker()
    try:
        done = place.run("submit", "add", "[1, 2]", "--wait", "--timeout", "60", "--json", "-l", "debug")
        assert done.returncode == 0, done.stderr + place.log.read_text()
        assert json.loads(done.stdout)["status"] == "success"
        assert place.run("monitor", "--once").returncode == 0
    finally:
        worker.terminate()
        assert worker.wait(40) == 0
    assert "worker one: broker kafka+ssl://" in place.log.read_text()


def test_a_client_that_may_not_create_topics_says_who_may(place: Place, secure_kafka: SecureKafka) -> None:
    fresh = place.environment["YADTQ_NAMESPACE"] + "x"
    secure_kafka.allow(fresh, ("READ", "WRITE", "DESCRIBE"), ("READ",))
    done = place.run("submit", "add", "[1]", YADTQ_NAMESPACE=fresh)
    assert done.returncode == 7
    assert done.stderr == f"Error: topic yadtq.{fresh}.default does not exist: run `yadtq provision`\n"


def test_settings_are_shown_without_secrets(place: Place) -> None:
    environment = {"YADTQ_BROKER_PASSWORD": PASSWORD, "YADTQ_BACKEND_PASSWORD": PASSWORD}
    shown = place.run("config", "--origin", **environment).stdout
    assert 'broker_password = "***"  # environment YADTQ_BROKER_PASSWORD' in shown
    assert "password_file=" in shown
    assert json.loads(place.run("config", "--json", **environment).stdout)["backend_password"] == "***"


def test_a_wrong_password_ends_worker_and_submit_at_once(place: Place) -> None:
    wrong = {"YADTQ_BROKER_PASSWORD": "hunter2-wrong"}
    for command in (("worker", "--id", "one"), ("submit", "add", "[1]"), ("worker", "--debug", "-l", "debug")):
        done = place.run(*command, **wrong)
        assert (done.returncode, "refuses the login of user 'yadtq'" in done.stderr) == (7, True), done.stderr
    redis = place.environment["YADTQ_BACKEND"].replace(QUOTED, "hunter2-wrong")
    done = place.run("query", "00000000-0000-4000-8000-000000000000", YADTQ_BACKEND=redis)
    assert (done.returncode, "user or password is wrong" in done.stderr) == (7, True)
    assert len(done.stderr.splitlines()) == 1


def test_a_worker_outlives_the_loss_of_its_tls_connections(place: Place, secure_kafka: SecureKafka) -> None:
    worker = place.start_worker()
    try:
        assert place.run("submit", "add", "[1, 2]", "--wait", "--timeout", "60").returncode == 0
        secure_kafka.server.restart()
        wait_until(
            lambda: place.run("submit", "add", "[1, 2]", "--wait", "--timeout", "30").returncode == 0,
            "tasks are carried again",
            60,
        )
    finally:
        worker.terminate()
        assert worker.wait(40) == 0

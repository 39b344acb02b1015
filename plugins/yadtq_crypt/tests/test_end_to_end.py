"""Real workers, a real Valkey and a real Kafka: the stored data of an encrypted task, and its readers."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from tests.e2e.site import Site, WorkerProcess, site
from tests.waiting import wait_until
from yadtq_core import Client, Handle, SerializationError
from yadtq_local import LocalValkey

LEASE = 15.0
SECRET = "Zanzibar-4711"
OLD, NEW = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
WITH_OLD = {"YADTQ_CODECS": "crypt", "YADTQ_CRYPT_KEYS": f"2026-10={OLD}"}
WITH_BOTH = {**WITH_OLD, "YADTQ_CRYPT_KEYS": f"2026-10={OLD},2026-11={NEW}", "YADTQ_CRYPT_KEY": "2026-11"}
MISSING = "encrypted with key '2026-10', which is not among crypt.keys (have: {}): add it"
TASKS = """
from yadtq_core import task

@task(name="bank.greet")
def greet(who: str) -> str:
    return f"hello {who}"
"""


@pytest.fixture
def valkey(make_valkey: Callable[..., LocalValkey]) -> LocalValkey:
    """A Valkey whose append-only file has every command that it received."""
    return make_valkey(config={"appendfsync": "always", "auto-aof-rewrite-percentage": "0"})


@pytest.fixture
def here(tmp_path: Path, valkey: LocalValkey, namespace: str, unblocked: Callable[..., None]) -> Iterator[Site]:
    """An environment whose client and commands have the plugin, and no key."""
    unblocked("crypt")
    with site(tmp_path, valkey.url.replace("://", "+streams://", 1), valkey.url, namespace, LEASE) as made:
        (tmp_path / "bank.py").write_text(TASKS)
        made.client.provision()
        yield made


def client(here: Site, environment: dict[str, str]) -> Client:
    """Return a client with the settings of this environment's workers."""
    keys = dict(pair.split("=", 1) for pair in environment["YADTQ_CRYPT_KEYS"].split(","))
    return Client.connect(
        here.environment["YADTQ_BROKER"],
        here.environment["YADTQ_BACKEND"],
        namespace=here.environment["YADTQ_NAMESPACE"],
        codecs=("crypt",),
        crypt={"keys": keys, "key": environment.get("YADTQ_CRYPT_KEY", "")},
    )


def worker(here: Site, name: str, environment: dict[str, str]) -> WorkerProcess:
    """Start a worker of this environment that knows the tasks; return when it is online."""
    started = here.worker(name, "bank", environment=environment)
    here.wait_online(started)
    return started


def written(valkey: LocalValkey) -> bytes:
    """Return everything that the server has written: messages, records, results."""
    return b"".join(file.read_bytes() for file in sorted(valkey.folder.rglob("*.aof")))


def shows(data: bytes, secret: str, arguments: list[Any]) -> bool:
    """True when the data has a secret in plain text, or in the base64 of encoded arguments."""
    return secret.encode() in data or base64.b64encode(json.dumps(arguments, separators=(",", ":")).encode()) in data


def test_nothing_plain_lies_in_broker_record_or_result(here: Site, valkey: LocalValkey) -> None:
    worker(here, "w", WITH_OLD)
    with client(here, WITH_OLD) as mine:
        handle: Handle[str] = mine.submit("bank.greet", SECRET)
        assert handle.result(timeout=60) == f"hello {SECRET}"
        record = handle.record()
    assert record.content_type == "application/json;codecs=crypt"
    assert (record.result or b"").startswith(b"\x01\x072026-10")
    data = written(valkey)
    assert handle.id.encode() in data
    assert not shows(data, SECRET, [[SECRET], {}])

    other = here.client.submit("bank.greet", "Plainville")  # the same search finds unencrypted data
    other.wait(60)
    assert shows(written(valkey), "Plainville", [["Plainville"], {}])


def test_a_missing_key_is_named(here: Site) -> None:
    worker(here, "w", WITH_OLD)
    with client(here, WITH_OLD) as mine:
        handle = mine.submit("bank.greet", SECRET)
        handle.wait(60)
    said = f"the result of task {handle.id} is encoded by codec 'crypt': {MISSING.format('none')}"
    with pytest.raises(SerializationError) as caught:
        here.client.handle(handle.id).result(timeout=0)
    assert str(caught.value) == said

    done = here.run("query", handle.id)
    assert done.returncode == 0
    assert f"Status: success\nError: SerializationError: {said}\n" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout
    assert json.loads(here.run("query", handle.id, "--json").stdout)["error"]["message"] == said


@pytest.mark.parametrize("keys", [f"2026-11={NEW}", f"2026-10={NEW}"], ids=["another key", "another key of this ID"])
def test_a_worker_without_the_key_leaves_the_task_to_one_that_has_it(here: Site, keys: str) -> None:
    ignorant = worker(here, "w", {"YADTQ_CODECS": "crypt", "YADTQ_CRYPT_KEYS": keys})
    with client(here, WITH_OLD) as mine:
        handle = mine.submit("bank.greet", SECRET)
        wait_until(lambda: handle.status() == "scheduled", "the task waits for another worker", 60)
        record = handle.record()
        said = MISSING.format(repr("2026-11")) if "2026-11" in keys else "not what was encrypted for this task with key"
        assert record is not None
        assert (record.note or "").startswith(f"left to other workers: arguments are encoded by codec 'crypt': {said}")
        assert record.attempt == 0
        assert ignorant.terminate(60) == 0
        assert (
            f"task bank.greet is left to other workers: arguments are encoded by codec 'crypt': {said}"
            in ignorant.log()
        )
        worker(here, "w2", WITH_OLD)
        assert handle.result(timeout=60) == f"hello {SECRET}"


def test_a_worker_that_is_to_encrypt_with_no_key_does_not_start(here: Site) -> None:
    started = here.worker("w", environment={"YADTQ_CODECS": "crypt"})
    assert started.process.wait(60) == 2
    assert "codecs names 'crypt', but there are no keys: set crypt.keys" in started.log()
    assert "Traceback" not in started.log()


def test_after_a_rotation_old_results_stay_readable_and_old_messages_are_still_run(here: Site) -> None:
    with client(here, WITH_OLD) as before:
        early = before.submit("bank.greet", "one").id
        first = worker(here, "old", WITH_OLD)
        before.handle(early).wait(60)
        assert first.terminate(60) == 0
        late = before.submit("bank.greet", "two").id
    with client(here, WITH_BOTH) as after:
        worker(here, "new", WITH_BOTH)
        assert after.handle(early).result(timeout=0) == "hello one"
        assert after.handle(late).result(timeout=60) == "hello two"
        assert (after.handle(early).record().result or b"").startswith(b"\x01\x072026-10")
        assert (after.handle(late).record().result or b"").startswith(b"\x01\x072026-11")


def test_the_doctor_says_which_key_encrypts_and_warns_of_what_does_not(here: Site, tmp_path: Path) -> None:
    here.environment.update(WITH_BOTH)
    said = here.run("doctor").stdout
    assert "arguments and results are encrypted with key '2026-11'; keys here: '2026-10', '2026-11'" in said
    assert OLD not in said

    file = tmp_path / "keys"
    file.write_text(f"2026-12={NEW}\n")
    file.chmod(0o644)
    here.environment.update({"YADTQ_CODECS": "", "YADTQ_CRYPT_KEYS_FILE": str(file)})
    said = here.run("doctor").stdout
    assert "arguments and results are not encrypted here, though there are keys" in said
    assert f"{file} can be read by every user of this machine" in said


def test_nothing_plain_lies_in_kafka(
    kafka_url: str, redis_url: str, namespace: str, unblocked: Callable[..., None]
) -> None:
    unblocked("crypt")
    given: dict[str, Any] = {"namespace": namespace, "partitions": 1}
    with Client.connect(kafka_url, redis_url, **given) as plain:
        plain.provision()
        plain.submit("bank.greet", "Plainville")
    with Client.connect(kafka_url, redis_url, codecs=("crypt",), crypt={"keys": {"2026-10": OLD}}, **given) as mine:
        handle = mine.submit("bank.greet", SECRET)
    consumer = KafkaConsumer(bootstrap_servers=kafka_url.removeprefix("kafka://"))
    try:
        partition = TopicPartition(f"yadtq.{namespace}.default", 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        bodies: list[bytes] = []
        while len(bodies) < 2:
            bodies += [one.value for some in consumer.poll(timeout_ms=10_000).values() for one in some]
    finally:
        consumer.close()
    assert shows(bodies[0], "Plainville", [["Plainville"], {}])
    assert handle.id.encode() in bodies[1]
    assert not shows(bodies[1], SECRET, [[SECRET], {}])

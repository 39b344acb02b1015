"""The cases of services: away, wrong, unfit, full, of other versions; at the start and in the middle."""

from __future__ import annotations

import os
import re
import signal
import socket
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import ClassVar

from tests.answers.bed import NO_ID, NOTHING, Answer, Bed, Case, Environment, cli
from tests.waiting import wait_until
from yadtq_core.errors import LocalStackError
from yadtq_local import LocalKafka, LocalServer, LocalValkey

ADD = ["submit", "add", "[1]"]
NOWHERE = "127.0.0.1:1"


def away(name: str, words: list[str], text: str, code: int = 3, env: Environment = NOTHING) -> Case:
    """Return the case of an address at which nothing listens."""
    return cli("service", name, words, code, re.escape(text), env=env)


def redis(
    name: str,
    words: list[str],
    code: int,
    text: str,
    config: Mapping[str, str],
    prepare: Callable[[Bed, str], None] | None = None,
    address: str = "{}",
    **options: object,
) -> Case:
    """Return the case of a Valkey that is set in some way. address: how its URL is written; prepare: gets the URL."""

    def ask(bed: Bed) -> Answer:
        server = bed.valkey(port=0, config=config, **options)
        try:
            if prepare is not None:
                prepare(bed, server.url)
            where = address.replace("{}", server.url).replace("{host}", server.url[8:])
            return bed.run(*words, env={"YADTQ_BACKEND": where})
        finally:
            server.kill()

    return Case("service", name, f"yadtq {' '.join(words)}", ask, code, text)


def on_record(
    name: str, words: list[str], code: int, text: str, *commands: tuple[object, ...], env: Environment = NOTHING
) -> Case:
    """Return the case of a new namespace in which some keys were written; {} is the namespace."""

    def ask(bed: Bed) -> Answer:
        namespace = bed.other_namespace()
        bed.provision({"YADTQ_NAMESPACE": namespace})
        for command in commands:
            bed.store.run(*(part.replace("%", namespace) if isinstance(part, str) else part for part in command))
        return bed.run(*words, env={"YADTQ_NAMESPACE": namespace, **env})

    return Case("service", name, f"yadtq {' '.join(words)}", ask, code, text, writes=True)


def _replica(bed: Bed) -> Answer:
    port = bed.redis_url.rpartition(":")[2]
    replica = bed.valkey(port=0, config={"replicaof": f"127.0.0.1 {port}"})
    try:
        return bed.run(*ADD, env={"YADTQ_BACKEND": replica.url})
    finally:
        replica.kill()


def _restricted(bed: Bed, url: str) -> None:
    """Make a user who may do everything but run scripts."""
    bed.opened(url).run("ACL SETUSER", "weak", "on", ">pw", "~*", "&*", "+@all", "-evalsha", "-eval")


def _password(bed: Bed, url: str) -> None:
    bed.opened(url).run("CONFIG SET", "requirepass", "secret")


def _full(bed: Bed, url: str) -> None:
    store = bed.opened(url)
    store.run("SET", "ballast", "x" * 1_000_000)
    store.run("CONFIG SET", "maxmemory", "1mb")


SLOW_LOAD = {"key-load-delay": "100000", "loading-process-events-interval-bytes": "1024", "rdbcompression": "no"}


class _SlowValkey(LocalValkey):
    start_seconds: ClassVar[float] = 120.0


def _loading(bed: Bed) -> Answer:
    """Ask while a Redis loads its data, which takes it longer than any command."""
    server = _SlowValkey(bed.folder / "loading", port=0, aof=False, config=SLOW_LOAD)
    server.start()
    store = bed.opened(server.url)
    store.run_many([("SET", f"k{number}", "x" * 100) for number in range(1_000)])
    store.run("SAVE")
    server.kill()

    def start() -> None:
        with suppress(LocalStackError):  # it is killed before it has started
            server.start()

    starting = threading.Thread(target=start)
    starting.start()
    host, port = "127.0.0.1", int(server.url.rpartition(":")[2])
    wait_until(lambda: _listens(host, port), "it listens")
    try:
        return bed.run(*ADD, env={"YADTQ_BACKEND": server.url})
    finally:
        os.kill(server.pid, signal.SIGKILL)
        starting.join()


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def _few_clients(bed: Bed, url: str) -> None:
    bed.opened(url).run("CONFIG SET", "maxclients", "1")


@contextmanager
def _mute() -> Iterator[str]:
    """Yield an address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def mute(setting: str, scheme: str, text: str) -> Case:
    """Return the case of a service that takes connections and never answers."""

    def ask(bed: Bed) -> Answer:
        with _mute() as address:
            return bed.run(*ADD, env={setting: f"{scheme}://{address}"})

    return Case("service", f"a {scheme} that never answers", "yadtq submit add '[1]'", ask, 3, text, within=60)


def _stopped(bed: Bed) -> Answer:
    """Ask a Redis whose process is stopped."""
    server = bed.valkey(port=0)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        return bed.run("query", NO_ID, env={"YADTQ_BACKEND": server.url})
    finally:
        server.kill()


def program(name: str, code: int, text: str, source: str, shown: str, *, kafka: bool = False) -> Case:
    """Return the case of a program with a client; with a Kafka that it may stop, its process ID is KAFKA."""

    def ask(bed: Bed) -> Answer:
        env = {"YADTQ_SUBMIT_TIMEOUT": "1"}
        if not kafka:
            return bed.python("-c", textwrap.dedent(source), env=env)
        with bed.kafka() as server:
            env |= {"YADTQ_BROKER": server.url, "KAFKA": str(server.pid)}
            bed.provision(env)
            return bed.python("-c", textwrap.dedent(source), env=env)

    return Case("service", name, shown, ask, code, text, writes=True, within=60)


FORK = """
    import os, sys
    from yadtq_core import Client
    with Client.connect() as client:
        before = client.submit("add", 1)
        child = os.fork()
        if child == 0:
            handles = [client.submit("add", n) for n in range(3)]
            ok = [record.status for record in client.query(h.id for h in handles)] == ["queued"] * 3
            client.close()
            os._exit(0 if ok else 1)
        after = client.submit("add", 2)
        _, status = os.waitpid(child, 0)
        print("child", os.waitstatus_to_exitcode(status), "parent", after.status())
"""
STOPPED = """
    import os, signal
    from yadtq_core import Client
    with Client.connect() as client:
        client.submit("add", 1)
        os.kill(int(os.environ["KAFKA"]), signal.SIGSTOP)
        try:
            client.submit("add", 2)
        except Exception as error:
            print(type(error).__name__, error)
            print(client.query(error.task_ids)[0].status)
        finally:
            os.kill(int(os.environ["KAFKA"]), signal.SIGCONT)
"""


def _topic(partitions: str | None, words: list[str], text: str, name: str) -> Case:
    """Return the case of a queue whose topic is not there, or has few partitions."""

    def ask(bed: Bed) -> Answer:
        namespace = bed.other_namespace()
        if partitions is not None:
            bed.provision({"YADTQ_NAMESPACE": namespace, "YADTQ_PARTITIONS": partitions})
        return bed.run(*words, env={"YADTQ_NAMESPACE": namespace, "YADTQ_PARTITIONS": "8"})

    return Case("service", name, f"yadtq {' '.join(words)}", ask, 7, text)


def _outages(bed: Bed) -> Answer:
    """A worker while first Redis and then Kafka are restarted: tasks run after each, and its log says so once."""
    valkey = bed.valkey(port=0)
    with bed.kafka() as kafka:
        return _outlived(bed, kafka, valkey)


def _outlived(bed: Bed, kafka: LocalKafka, valkey: LocalValkey) -> Answer:
    env = {
        "YADTQ_BROKER": kafka.url,
        "YADTQ_BACKEND": valkey.url,
        "YADTQ_NAMESPACE": bed.namespace + "o",
        "CLAIM_STALE_SECONDS": "3",
    }
    bed.provision(env)
    bed.worker("outlives", env=env)
    wait = ["--wait", "--timeout", "60"]
    servers: tuple[LocalServer, ...] = (valkey, kafka)
    for server in servers:
        server.kill()
        time.sleep(2.0)
        server.start()
        answer = bed.run("submit", "add", "[1, 2]", *wait, wait=120, env=env)
        assert answer.code == 0, answer
    told = [line[9:] for line in bed.log("outlives").splitlines() if re.search(" (WARNING|ERROR) ", line)]
    assert sum("is away" in line for line in told) <= 2, told
    return answer._replace(err="\n".join(told))


def _waits(bed: Bed) -> Answer:
    """Wait for a task while the Redis is restarted."""
    valkey = bed.valkey(port=0)
    env = {"YADTQ_BACKEND": valkey.url, "YADTQ_NAMESPACE": bed.namespace + "r", "CLAIM_STALE_SECONDS": "3"}
    bed.provision(env)
    bed.worker("waited-for", env=env)
    process = bed.start("submit", "sleep", "[5]", "--wait", env=env)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(1.5)  # the wait has begun
    valkey.kill()
    time.sleep(1.0)
    valkey.start()
    out, err = process.communicate(timeout=120)
    return Answer(process.returncode, (first + out).decode(), err.decode(), 0.0)


OLD = """
    import time
    from yadtq_core.model import Outgoing
    from yadtq_core.plugin import open_broker
    from yadtq_core.settings import load
    broker = open_broker(load().settings)
    old = int(time.time() * 1000) - 4 * 86_400_000
    message = Outgoing("0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11", "default", b"{}")
    publications = [broker.publish([message], timestamp_ms=old), broker.publish_dead([message], timestamp_ms=old)]
    assert all(publication.wait(30)[0] for publication in publications)
    broker.close(5)
"""


def after(name: str, code: int, text: str, *prepare: tuple[str, ...]) -> Case:
    """Return the case of a doctor that is asked after commands (or the program OLD) in a new namespace."""

    def ask(bed: Bed) -> Answer:
        env = {"YADTQ_NAMESPACE": bed.other_namespace()}
        bed.provision(env)
        for words in prepare:
            done = bed.python("-c", textwrap.dedent(OLD), env=env) if words == ("OLD",) else bed.run(*words, env=env)
            assert done.code == 0, done
        return bed.run("doctor", env=env)

    return Case("service", name, "yadtq doctor", ask, code, text, writes=True)


NOBODY = "nothing listens there: start Redis (`yadtq dev` brings one), or correct the address"
NO_KAFKA = f"Kafka at kafka://{NOWHERE} cannot be reached"
NO_REDIS, NO_BROKER = {"YADTQ_BACKEND": f"redis://{NOWHERE}"}, {"YADTQ_BROKER": f"kafka://{NOWHERE}"}
EVICTS = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}
CASES = [
    *(
        away(f"no Redis: {words[0]}", words, NOBODY, env=NO_REDIS)
        for words in (ADD, ["query", NO_ID], ["monitor", "--once"], ["worker"])
    ),
    away("no Redis: doctor", ["doctor"], f"problem  backend      redis://{NOWHERE}: {NOBODY}", env=NO_REDIS),
    *(away(f"no Kafka: {words[0]}", words, NO_KAFKA, env=NO_BROKER) for words in (ADD, ["worker"], ["provision"])),
    away("no Kafka: doctor", ["doctor"], f"problem  broker       {NO_KAFKA}", env=NO_BROKER),
    away("no Kafka: who asks needs none", ["query", NO_ID], f"no task {NO_ID}", 4, env=NO_BROKER),
    away(
        "a host without an address", ["query", NO_ID], "nosuch.invalid", env={"YADTQ_BACKEND": "redis://nosuch.invalid"}
    ),
    mute("YADTQ_BACKEND", "redis", "does not answer in time: is it overloaded, paused or behind a firewall"),
    mute("YADTQ_BROKER", "kafka", "cannot be reached"),
    cli("49", "a Redis for a Kafka", ADD, 7, "answers like Redis, not Kafka", env={"YADTQ_BROKER": "kafka://{redis}"}),
    cli("49", "a Kafka for a Redis", ADD, 7, "answers like Kafka, not Redis", env={"YADTQ_BACKEND": "redis://{kafka}"}),
    Case("service", "a Redis whose process is stopped", "yadtq query ID", _stopped, 3, "does not answer in time"),
    redis("a password is missing", ADD, 7, "a password is required", {}, _password),
    redis("a wrong password", ADD, 7, "user or password is wrong", {}, _password, "redis://:no@{host}"),
    redis(
        "a password too many",
        ADD,
        7,
        "the address has a password, but none is set on the server",
        {},
        address="redis://:no@{host}",
    ),
    redis("a database that is not there", ADD, 7, "the server has no database with this number", {}, address="{}/99"),
    redis(
        "a user without a permission",
        ADD,
        7,
        "its user lacks a permission.*evalsha",
        {},
        _restricted,
        "redis://weak:pw@{host}",
    ),
    redis(
        "it may evict records",
        ADD,
        7,
        "Redis may evict records: maxmemory-policy is allkeys-lru: redis-cli CONFIG SET maxmemory-policy noeviction",
        EVICTS,
    ),
    redis("it may evict records: worker", ["worker"], 7, "Redis may evict records", EVICTS),
    redis("it may evict records: doctor", ["doctor"], 1, "problem  eviction .* → redis-cli CONFIG SET", EVICTS),
    redis(
        "nothing on disk: doctor",
        ["doctor"],
        1,
        "problem  persistence .* → redis-cli CONFIG SET appendonly yes",
        {},
        aof=False,
    ),
    redis("nothing on disk, accepted", ["doctor", "--accept", "persistence"], 0, "warning  persistence", {}, aof=False),
    redis(
        "snapshots only: doctor",
        ["doctor"],
        1,
        "problem  persistence .*only the last snapshot is left",
        {"save": "60 1"},
        aof=False,
    ),
    redis("it is full", ADD, 7, "the result store is full", {}, _full),
    redis("it is full: doctor", ["doctor"], 1, "problem  memory .*submits will be refused when it is full", {}, _full),
    redis(
        "it accepts no more clients", ADD, 3, "Redis accepts no more clients: raise its maxclients", {}, _few_clients
    ),
    Case(
        "service",
        "a read-only replica",
        "yadtq submit add '[1]'",
        _replica,
        7,
        "is a read-only replica: use the address of its primary",
    ),
    Case(
        "service", "a Redis that loads its data", "yadtq submit add '[1]'", _loading, 3, "still loading its data: wait"
    ),
    _topic(None, [*ADD, "--queue", "slow"], "topic .* does not exist: run `yadtq provision`", "no topic"),
    _topic(
        "2",
        ADD,
        "has 2 partitions, the settings ask for 8: run `yadtq provision --partitions 8`",
        "2 partitions, 8 asked",
    ),
    _topic("2", ["worker"], "has 2 partitions, the settings ask for 8", "2 partitions, 8 asked: worker"),
    on_record("a newer format", ADD, 7, "has format 2, this yadtq reads 1", ("HSET", "yadtq:{%}:meta", "format", "2")),
    on_record(
        "another number of shards",
        ADD,
        7,
        "is spread over 1 shard, the settings say 4: set shards = 1",
        env={"YADTQ_SHARDS": "4"},
    ),
    on_record(
        "Redis's clock went back",
        ["doctor"],
        1,
        "problem  clock .* was set back by",
        ("HSET", "yadtq:{%:0}:epoch", "mark", "9999999999999"),
    ),
    on_record("an unknown check", ["doctor", "--accept", "persistense"], 2, "no such check; known: clients"),
    after("no worker is online", 0, "warning  workers      no worker is online → start one: `yadtq worker`"),
    after("a task waits for a worker", 1, "problem  workers      no worker is online, and 1 task waits", tuple(ADD)),
    after("a message waits for too long", 1, "problem  retention .*1 message waiting for more than half", ("OLD",)),
    after("there are dead letters", 1, "warning  dead-letters queue default: up to 1 dead letter", ("OLD",)),
    program("a client from before a fork", 0, "child 0 parent queued", FORK, "os.fork()"),
    program(
        "Kafka stops in the middle",
        0,
        "OutcomeUnknown .*may still run.*\nqueued",
        STOPPED,
        "client.submit(…)",
        kafka=True,
    ),
    Case(
        "service",
        "a wait while Redis restarts",
        "yadtq submit sleep '[5]' --wait",
        _waits,
        0,
        "Status: success",
        True,
        60,
    ),
    Case("service", "a worker while both restart", "yadtq worker", _outages, 0, "Result: 3", True, 120),
]

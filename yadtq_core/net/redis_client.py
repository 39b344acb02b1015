"""The one place that imports `redis` and opens it: addresses, timeouts, and what its errors mean to a person.

A `Store` is one Redis or Valkey. What it is told to do must be idempotent: a command is sent once more where the
connection was lost, because a pooled connection may have been closed by the server long before it is used.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from yadtq_core.errors import BackendUnavailable, ConfigurationRefused, Unavailable, YadtqError
from yadtq_core.net.probe import answers_like, tls_trouble
from yadtq_core.net.redis_url import SCHEMES, RedisAddress, parse
from yadtq_core.net.tls import Secret, Tls, certificate_trouble, context_of, warnings_of

__all__ = ["SCHEMES", "Listener", "ServerError", "Store", "open_store", "server_text"]

SOCKET_TIMEOUT = 5.0
"""Seconds until an answer: a full batch takes some 5 ms; a server that is silent for so long is not there."""
CONNECT_TIMEOUT = 3.0
SENTINEL_TIMEOUT = 1.0
"""For each Sentinel: the others are asked where one is silent."""
WAKE_SECONDS = 1.0
"""How long a wait for pushes sleeps at most, should nothing wake it."""
RECONNECT_SECONDS = 0.2

ServerError = redis.ResponseError
"""What the server said of one command, as `Store.run_many` returns it in its place."""


def open_store(
    url: str, *, password: str = "", unavailable: type[Unavailable] = BackendUnavailable, name: str = "yadtq"
) -> Store:
    """Return the store at an address of one of `SCHEMES`; connects only when it is first used.

    password: where the address has none. unavailable: what is raised where it cannot be reached. name: shown by
    CLIENT LIST. Raises InvalidSetting for an address that cannot be used, ConfigurationRefused for a file of it.
    """
    address = parse(url, password)
    for secret in (address.secret, address.sentinel_secret):
        secret.read()
    if address.tls is not None:
        context_of(address.tls)  # redis-py would come to the files with the first command, and name none
    return Store(_client(address, name), address, unavailable)


class _Login(redis.CredentialProvider):
    """User and password, read anew for each connection."""

    def __init__(self, user: str, secret: Secret) -> None:
        self._user, self._secret = user, secret

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._secret.read()
        return (self._user, password) if self._user else (password,)


def _client(address: RedisAddress, name: str) -> redis.Redis:
    common: dict[str, Any] = {
        # RESP2: RESP3 is no faster here (measured) and costs a handshake more.
        "protocol": 2,
        "driver_info": None,
        # Repeating is decided here: by default redis-py would go on for seconds.
        "retry": Retry(NoBackoff(), 0),
        **_tls(address.tls),
    }
    mine = common | {
        "db": address.db,
        "socket_timeout": SOCKET_TIMEOUT,
        "client_name": name,
        **_login(address.user, address.secret),
    }
    if address.socket:
        return redis.Redis(unix_socket_path=address.socket, **mine)
    mine["socket_connect_timeout"] = CONNECT_TIMEOUT
    if not address.service:
        host, port = address.servers[0]
        return redis.Redis(host=host, port=port, **mine)
    theirs = common | {"socket_timeout": SENTINEL_TIMEOUT, "socket_connect_timeout": SENTINEL_TIMEOUT}
    theirs |= _login(address.sentinel_user, address.sentinel_secret)
    sentinels: Callable[..., Any] = Sentinel
    found: redis.Redis = sentinels(address.servers, sentinel_kwargs=theirs).master_for(address.service, **mine)
    return found


def _login(user: str, secret: Secret) -> dict[str, Any]:
    return {"credential_provider": _Login(user, secret)} if secret else {}


def _tls(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "ssl": True,
        "ssl_ca_certs": tls.ca or None,
        "ssl_certfile": tls.cert or None,
        "ssl_keyfile": tls.key or None,
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.verify,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }


class Store:
    """One Redis or Valkey. Safe for use by several threads.

    Every method raises what `open_store` was told where it cannot be reached, and ConfigurationRefused where it
    can be reached but will not do what is asked; both say in one line what to do.
    """

    def __init__(self, client: redis.Redis, address: RedisAddress, unavailable: type[Unavailable]) -> None:
        self._client = client
        self._address = address
        self._unavailable = unavailable
        self._execute: Callable[..., Any] = client.execute_command
        self._reached = False

    def warnings(self) -> list[str]:
        """Return what is unsafe about the address, to be told at every start."""
        address = self._address
        return warnings_of(address.shown, address.hosts, address.tls, address.secret)

    def run(self, *command: Any) -> Any:
        """Return the answer to one command."""
        try:
            answer = self._repeated(lambda: self._execute(*command))
        except redis.RedisError as error:
            raise self.translated(error) from error
        self._reached = True
        return answer

    def run_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the answers to commands that are sent together, with a ServerError in the place of a refused one."""
        if len(commands) == 1:
            return [self._one(commands[0])]
        try:
            answers: list[Any] = self._repeated(lambda: self._pipelined(commands))
        except redis.RedisError as error:
            raise self.translated(error) from error
        self._reached = True
        return answers

    def identity(self) -> tuple[str, int]:
        """Return which server's run this is, and which of its databases: two addresses may mean the same."""
        run_id: str = self.run("INFO", "server")["run_id"]
        return run_id, int(self._client.connection_pool.connection_kwargs.get("db") or 0)

    def translated(self, error: Exception) -> YadtqError:
        """Return a redis-py error as one of ours.

        Who never had an answer may have come to something else: then it is asked what it is.
        """
        strange = not self._reached and type(error) in (redis.ConnectionError, redis.TimeoutError)
        return (_stranger(self._address) if strange else None) or _translated(error, self._address, self._unavailable)

    def listen(self, channel: str) -> Listener:
        """Subscribe to a channel, on a connection of its own."""
        return Listener(self, self._client, channel)

    def close(self) -> None:
        """Let go of the connections. Never raises."""
        with suppress(Exception):
            self._client.close()
        if self._address.service:
            with suppress(Exception):
                pool: Any = self._client.connection_pool
                pool.sentinel_manager.close()

    def _one(self, command: Sequence[Any]) -> Any:
        try:
            return self._repeated(lambda: self._execute(*command))
        except ServerError as error:
            return error
        except redis.RedisError as error:
            raise self.translated(error) from error

    def _pipelined(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipeline:
            put: Callable[..., Any] = pipeline.execute_command
            for command in commands:
                put(*command)
            return list(pipeline.execute(raise_on_error=False))

    def _repeated(self, send: Callable[[], Any]) -> Any:
        """Send, and once more where the connection was lost: it may have been an old one.

        What is refused the second time may have been done the first time: then the loss is what is told.
        """
        try:
            return send()
        except redis.ConnectionError as error:
            if type(error) is not redis.ConnectionError:  # its kinds are answers: loading, no password
                raise
            lost = error
        try:
            answer = send()
        except redis.RedisError as error:
            if _refused(error, server_text(error), self._address):
                raise lost from error
            raise
        for one in answer if isinstance(answer, list) else ():
            if isinstance(one, ServerError) and _refused(one, server_text(one), self._address):
                raise lost from one
        return answer


class Listener:
    """What is pushed to one channel. Used by one thread; `close` may be called by another."""

    def __init__(self, store: Store, client: redis.Redis, channel: str) -> None:
        self.channel = channel
        self._store = store
        self._client = client
        self._closed = threading.Event()
        self._waiting = threading.Lock()
        self._subscribed: Any = self._subscribe()

    def wait(self, timeout: float) -> list[bytes] | None:
        """Return what was pushed since the last call, waiting at most `timeout` seconds for the first.

        None: the connection was lost and made anew, so pushes may have been missed. Empty: nothing came, or it is
        closed. Raises what the store raises if the connection cannot be made again within the timeout.
        """
        deadline = time.monotonic() + timeout
        try:
            with self._waiting:
                if self._subscribed is None:
                    return self._again(deadline)
                try:
                    return self._received(deadline)
                except (redis.RedisError, OSError):
                    return self._again(deadline)
        finally:
            if self._closed.is_set():
                self._let_go()

    def close(self) -> None:
        """Let go, and let a `wait` that is under way return. Never raises."""
        if self._closed.is_set():
            return
        self._closed.set()
        with suppress(Exception):  # a wait wakes up within WAKE_SECONDS anyway
            self._client.publish(self.channel, "")
        # A connection that another thread reads from must not be closed under it: that thread does it on its way.
        if self._waiting.acquire(blocking=False):
            self._waiting.release()
            self._let_go()

    def _subscribe(self) -> Any:
        make: Callable[..., Any] = self._client.pubsub
        subscribed = make(ignore_subscribe_messages=False)
        try:
            subscribed.subscribe(self.channel)
            if subscribed.get_message(timeout=SOCKET_TIMEOUT) is None:
                raise redis.TimeoutError("no answer to SUBSCRIBE")
        except redis.RedisError as error:
            subscribed.close()
            raise self._store.translated(error) from error
        return subscribed

    def _received(self, deadline: float) -> list[bytes] | None:
        pushed: list[bytes] = []
        while not self._closed.is_set():
            left = 0.0 if pushed else max(0.0, min(deadline - time.monotonic(), WAKE_SECONDS))
            message = self._subscribed.get_message(timeout=left)
            if message is None:
                if pushed or time.monotonic() >= deadline:
                    return pushed
            elif message["type"] == "subscribe":
                return None  # redis-py has connected again by itself
            elif message["type"] == "message" and message["data"]:
                pushed.append(message["data"])
        return pushed

    def _again(self, deadline: float) -> list[bytes] | None:
        self._let_go()
        while not self._closed.is_set():
            try:
                self._subscribed = self._subscribe()
                return None
            except YadtqError:
                if time.monotonic() >= deadline:
                    raise
            self._closed.wait(min(RECONNECT_SECONDS, max(0.0, deadline - time.monotonic())))
        return []

    def _let_go(self) -> None:
        subscribed, self._subscribed = self._subscribed, None
        if subscribed is not None:
            with suppress(Exception):
                subscribed.close()


_NO_LOGIN = "a password is asked for: redis://USER:PASSWORD@HOST, YADTQ_BACKEND_PASSWORD or ?password_file=FILE"
_FULL = "the result store is full (maxmemory is reached): give Redis more memory, or shorten result_ttl"
_REFUSED = (
    # (what the server's answer contains, what it means and what to do)
    ("OOM ", _FULL),
    ("READONLY", "this is a read-only replica: use the address of its primary"),
    ("read only replica", "this is a read-only replica: use the address of its primary"),
    ("MISCONF", "Redis cannot save to its disk and refuses writes: free space there, see its log"),
    ("NOAUTH", _NO_LOGIN),
    ("Authentication required", _NO_LOGIN),
    ("without any password configured", "a password was given and none is set there: leave it out"),
    ("WRONGPASS", "user or password is wrong"),
    ("username-password pair", "user or password is wrong"),
    ("DB index is out of range", "there is no database of this number"),
    ("CROSSSLOT", "this is a node of a Redis Cluster that wants one slot a command"),
    ("unknown command 'SENTINEL'", "this is no Sentinel: use redis://, or the port of the Sentinels"),
    ("unknown command", "Redis is too old: yadtq needs Redis 7.0 or Valkey 7.2"),
    ("Unknown Redis command", "Redis is too old: yadtq needs Redis 7.0 or Valkey 7.2"),
)
_NOTHING_THERE = "nothing listens there: start Redis (`yadtq dev` brings one), or correct the address"
_AWAY = (
    ("LOADING", "Redis is still loading its data: wait"),
    ("loading the dataset", "Redis is still loading its data: wait"),
    ("max number of clients", "Redis accepts no more clients: raise its maxclients"),
    ("BUSY ", "Redis is busy with a script of somebody's: wait"),
    ("CLUSTERDOWN", "its cluster is down"),
    ("MASTERDOWN", "its primary is away"),
    ("Error 111 ", _NOTHING_THERE),
    ("Error 61 ", _NOTHING_THERE),
    ("Error 2 ", "there is no such socket: start Redis (`yadtq dev` brings one), or correct the address"),
    ("Protocol Error", "it does not answer like Redis: is it something else's port?"),
    ("Connection closed by server", "it closed the connection: is it Redis, and is it up?"),
)


def _stranger(address: RedisAddress) -> YadtqError | None:
    """Return the error for a port that is not what the address takes it for, None where it is or nothing answers."""
    if address.service or not address.servers:
        return None
    host, port = address.servers[0]
    found = answers_like(host, port)
    if found == "Redis" and address.tls is not None:
        return ConfigurationRefused(f"{address.shown}: it does not speak TLS: use redis://, or its TLS port")
    if found == "TLS" and address.tls is None:
        return ConfigurationRefused(f"{address.shown}: it speaks TLS: use rediss://")
    if found in ("Kafka", "HTTP"):
        return ConfigurationRefused(f"{host}:{port} answers like {found}, not Redis: correct {address.shown}")
    trouble = _tls_trouble(address) if found else None
    return ConfigurationRefused(f"{address.shown}: {trouble}") if trouble else None


def _translated(error: Exception, address: RedisAddress, unavailable: type[Unavailable]) -> YadtqError:
    """Return what a redis-py error means. Its class alone does not say: many are plain ResponseErrors."""
    text, shown = server_text(error), address.shown
    if isinstance(error, MasterNotFoundError):
        return _no_primary(str(error), address, unavailable)
    if isinstance(error, redis.TimeoutError):
        return unavailable(f"{shown} does not answer in time: is it overloaded, paused, behind a firewall?")
    if refused := _refused(error, text, address):
        return ConfigurationRefused(f"{shown}: {refused}")
    if meaning := _meaning(text, _AWAY):
        return unavailable(f"{shown}: {meaning}")
    if isinstance(error, ServerError | redis.AuthenticationError):
        return ConfigurationRefused(f"{shown} refuses: {text}")
    return unavailable(f"{shown} cannot be reached: {text}")


def _refused(error: Exception, text: str, address: RedisAddress) -> str | None:
    """Return what is refused, and what to do; None where it is not a refusal."""
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return _FULL
    if isinstance(error, redis.exceptions.NoPermissionError) or "ACL failure in script" in text:
        return f"its user lacks a permission, grant it with ACL SETUSER: {text[:200]}"
    if address.tls is not None and (trouble := certificate_trouble(text)):
        return trouble
    return None if _meaning(text, _AWAY) else _meaning(text, _REFUSED)


def _meaning(text: str, signs: Sequence[tuple[str, str]]) -> str | None:
    return next((meaning for sign, meaning in signs if sign in text), None)


def _no_primary(text: str, address: RedisAddress, unavailable: type[Unavailable]) -> YadtqError:
    """Return the error for Sentinels that name no primary. Of why one did not answer, redis-py tells the class."""
    if " : " not in text:
        return unavailable(
            f"{address.shown}: the Sentinels know no primary {address.service!r} that is up: wait, or correct the name"
        )
    if "AuthenticationError" in text:
        what = "its password is wrong" if address.sentinel_secret else "a password is asked for"
        return ConfigurationRefused(f"{address.shown}: a Sentinel: {what}: sentinel_password_file=FILE")
    if trouble := _tls_trouble(address):
        return ConfigurationRefused(f"{address.shown}: a Sentinel: {trouble}")
    return unavailable(f"{address.shown}: no Sentinel answers: are they up, and do they speak TLS as the address says?")


def _tls_trouble(address: RedisAddress) -> str | None:
    """Return what is wrong with the certificate of the first server, or with ours; None where nothing is."""
    if address.tls is None:
        return None
    host, port = address.servers[0]
    said = tls_trouble(host, port, context_of(address.tls))
    return certificate_trouble(said) if said else None


def server_text(error: Exception) -> str:
    """Return what the server said, in one line."""
    return " ".join(str(error).split())[:300]

"""The one place that imports `redis` and opens it: addresses, timeouts, and what its errors mean to a person.

A `Store` is one Redis or Valkey. What it is told to do must be idempotent: a command is sent once more where the
connection was lost, because a pooled connection may have been closed by the server long before it is used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from yadtq_core.errors import BackendUnavailable, ConfigurationRefused, InvalidSetting, Unavailable, YadtqError
from yadtq_core.settings import masked_url

SOCKET_TIMEOUT = 5.0
"""Seconds until an answer: a full batch takes some 5 ms; a server that is silent for so long is not there."""
CONNECT_TIMEOUT = 3.0
WAKE_SECONDS = 1.0
"""How long a wait for pushes sleeps at most, should nothing wake it."""
RECONNECT_SECONDS = 0.2
SCHEMES = ("redis", "rediss", "unix")
OPTIONS = frozenset(
    {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_path"}
)
"""What may stand behind the ? of an address."""

ServerError = redis.ResponseError
"""What the server said of one command, as `Store.run_many` returns it in its place."""


def open_store(url: str, *, unavailable: type[Unavailable] = BackendUnavailable, name: str = "yadtq") -> Store:
    """Return the store at `redis://`, `rediss://` or `unix://`; connects only when it is first used.

    unavailable: what is raised where it cannot be reached. name: shown by CLIENT LIST.
    Raises InvalidSetting for an address that cannot be used.
    """
    _check_url(url)
    client = redis.Redis.from_url(
        url,
        # RESP2: RESP3 is no faster here (measured) and costs a handshake more.
        protocol=2,
        socket_timeout=SOCKET_TIMEOUT,
        client_name=name,
        driver_info=None,
        # Repeating is decided here: by default redis-py would go on for seconds.
        retry=Retry(NoBackoff(), 0),
        **({} if url.startswith("unix") else {"socket_connect_timeout": CONNECT_TIMEOUT}),
    )
    return Store(client, url, unavailable)


class Store:
    """One Redis or Valkey. Safe for use by several threads.

    Every method raises what `open_store` was told where it cannot be reached, and ConfigurationRefused where it
    can be reached but will not do what is asked; both say in one line what to do.
    """

    def __init__(self, client: redis.Redis, url: str, unavailable: type[Unavailable]) -> None:
        self._client = client
        self._address = masked_url(url)
        self._unavailable = unavailable
        self._execute: Callable[..., Any] = client.execute_command

    def run(self, *command: Any) -> Any:
        """Return the answer to one command."""
        try:
            return self._repeated(lambda: self._execute(*command))
        except redis.RedisError as error:
            raise self.translated(error) from error

    def run_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the answers to commands that are sent together, with a ServerError in the place of a refused one."""
        if len(commands) == 1:
            return [self._one(commands[0])]
        try:
            answers: list[Any] = self._repeated(lambda: self._pipelined(commands))
        except redis.RedisError as error:
            raise self.translated(error) from error
        return answers

    def identity(self) -> tuple[str, int]:
        """Return which server's run this is, and which of its databases: two addresses may mean the same."""
        run_id: str = self.run("INFO", "server")["run_id"]
        return run_id, int(self._client.connection_pool.connection_kwargs.get("db") or 0)

    def translated(self, error: Exception) -> YadtqError:
        """Return a redis-py error as one of ours."""
        return _translated(error, self._address, self._unavailable)

    def listen(self, channel: str) -> Listener:
        """Subscribe to a channel, on a connection of its own."""
        return Listener(self, self._client, channel)

    def close(self) -> None:
        """Let go of the connections. Never raises."""
        with suppress(Exception):
            self._client.close()

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

    @staticmethod
    def _repeated(send: Callable[[], Any]) -> Any:
        try:
            return send()
        except redis.ConnectionError as error:
            if type(error) is not redis.ConnectionError:  # its kinds are answers: loading, no password
                raise
            return send()


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


def _check_url(url: str) -> None:
    """Raise InvalidSetting for what redis-py would pass over or understand in another way."""
    shown = masked_url(url)
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0
    except ValueError as error:
        raise InvalidSetting(f"{shown!r} is not an address: {error}") from None
    if parts.scheme not in SCHEMES:
        raise InvalidSetting(f"{shown!r}: use redis://HOST:PORT/NUMBER, rediss://… (TLS) or unix:///PATH")
    if parts.netloc.count("@") > 1:
        raise InvalidSetting(f"{shown!r}: write an @ in a user's name or password as %40")
    if port_is_wrong:
        raise InvalidSetting(f"{shown!r}: a port is 1 to 65535")
    if parts.scheme == "unix" and (not parts.path.startswith("/") or parts.netloc.rpartition("@")[2]):
        raise InvalidSetting(f"{shown!r}: the path of a socket is absolute: unix:///run/redis.sock")
    if parts.scheme != "unix" and parts.path.strip("/") and not _is_number(parts.path.strip("/")):
        raise InvalidSetting(f"{shown!r}: what follows the / is a database's number, got {parts.path[1:40]!r}")
    for option, value in parse_qsl(parts.query, keep_blank_values=True):
        if option not in OPTIONS or (option == "db" and not _is_number(value)):
            raise InvalidSetting(f"{shown!r}: cannot use {option[:40]!r} here; known: {', '.join(sorted(OPTIONS))}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


_FULL = "the result store is full (maxmemory is reached): give Redis more memory, or shorten result_ttl"
_REFUSED = (
    # (what the server's answer contains, what it means and what to do)
    ("OOM ", _FULL),
    ("READONLY", "this is a read-only replica: use the address of its primary"),
    ("read only replica", "this is a read-only replica: use the address of its primary"),
    ("MISCONF", "Redis cannot save to its disk and refuses writes: free space there, see its log"),
    ("NOAUTH", "a password is asked for: write it into the address as redis://USER:PASSWORD@HOST"),
    ("Authentication required", "a password is asked for: write it into the address as redis://USER:PASSWORD@HOST"),
    ("without any password configured", "a password was given and none is set there: take it out of the address"),
    ("WRONGPASS", "user or password is wrong"),
    ("username-password pair", "user or password is wrong"),
    ("DB index is out of range", "there is no database of this number"),
    ("CROSSSLOT", "this is a node of a Redis Cluster that wants one slot a command"),
    ("unknown command", "Redis is too old: yadtq needs Redis 7.0 or Valkey 7.2"),
    ("Unknown Redis command", "Redis is too old: yadtq needs Redis 7.0 or Valkey 7.2"),
)
_NOTHING_THERE = "nothing listens there: start Redis (`yadtq dev` brings one), or correct the address"
_PLAIN_TEXT = "it does not speak TLS: use redis://, or its TLS port"
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
    ("WRONG_VERSION_NUMBER", _PLAIN_TEXT),
    ("record layer failure", _PLAIN_TEXT),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate cannot be verified: add ?ssl_ca_certs=FILE to the address"),
    ("Protocol Error", "it does not answer like Redis: is it something else's port?"),
    ("Connection closed by server", "it closed the connection: is it Redis, and is it up?"),
)


def _translated(error: Exception, address: str, unavailable: type[Unavailable]) -> YadtqError:
    """Return what a redis-py error means. Its class alone does not say: many are plain ResponseErrors."""
    text = server_text(error)
    if isinstance(error, redis.TimeoutError):
        tls = " Does that port speak TLS?" if address.startswith("rediss:") else ""
        return unavailable(f"{address} does not answer in time: is it overloaded, paused, behind a firewall?{tls}")
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return ConfigurationRefused(f"{address}: {_FULL}")
    if isinstance(error, redis.exceptions.NoPermissionError) or "ACL failure in script" in text:
        return ConfigurationRefused(f"{address}: its user lacks a permission, grant it with ACL SETUSER: {text[:200]}")
    meant: tuple[tuple[type[YadtqError], tuple[tuple[str, str], ...]], ...] = (
        (unavailable, _AWAY),
        (ConfigurationRefused, _REFUSED),
    )
    for kind, signs in meant:
        meaning = next((meaning for sign, meaning in signs if sign in text), None)
        if meaning:
            return kind(f"{address}: {meaning}")
    if isinstance(error, ServerError | redis.AuthenticationError):
        return ConfigurationRefused(f"{address} refuses: {text}")
    return unavailable(f"{address} cannot be reached: {text}")


def server_text(error: Exception) -> str:
    """Return what the server said, in one line."""
    return " ".join(str(error).split())[:300]

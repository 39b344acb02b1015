"""A Redis or Valkey, opened and used: connections, timeouts and one repeat of a command whose connection was lost.

Commands given to a `Store` must be idempotent. It sends a command again after a lost connection, because the server
may have closed a pooled connection long before it is used.
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
from redis.sentinel import Sentinel

from yadtq_core.errors import BackendUnavailable, Unavailable, YadtqError
from yadtq_core.net.redis_errors import ServerError, is_refusal, translated, wrong_service
from yadtq_core.net.redis_url import RedisAddress, parse
from yadtq_core.net.tls import Secret, Tls, context_of, warnings_of

SOCKET_TIMEOUT = 5.0
"""Seconds to wait for an answer. A full batch takes about 5 ms, so a silent server is down."""
CONNECT_TIMEOUT = 3.0
"""Seconds to wait for a connection."""
SENTINEL_TIMEOUT = 1.0
"""Seconds to wait for each Sentinel before the next one is asked."""
WAKE_SECONDS = 1.0
"""Longest sleep of a wait for pushes, so that it notices `close` even if the wake-up message is lost."""
RECONNECT_SECONDS = 0.2
PING_SECONDS = 10.0
"""Silence after which a subscription is tested with PING: its connection can be lost without a sign."""


def open_store(
    url: str, *, password: str = "", unavailable: type[Unavailable] = BackendUnavailable, name: str = "yadtq"
) -> Store:
    """Return the store at an address of one of `redis_url.SCHEMES`; it connects when it is first used.

    password: used if the address has none. unavailable: the error to raise if the store cannot be reached.
    name: shown by CLIENT LIST.
    Raises InvalidSetting for an unusable address, ConfigurationRefused for an unusable file that it names.
    """
    address = parse(url, password)
    for secret in (address.secret, address.sentinel_secret):
        secret.read()
    if address.tls is not None:
        context_of(address.tls)  # redis-py would open the files with the first command, and its error names no file
    return Store(_client(address, name), address, unavailable)


class _Login(redis.CredentialProvider):
    """User and password; the password is read again for each connection."""

    def __init__(self, user: str, secret: Secret) -> None:
        self._user, self._secret = user, secret

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._secret.read()
        return (self._user, password) if self._user else (password,)


def _client(address: RedisAddress, name: str) -> redis.Redis:
    common: dict[str, Any] = {
        # RESP2: RESP3 is no faster here (measured) and costs one more handshake.
        "protocol": 2,
        "driver_info": None,
        # `Store` decides about repeats: by default redis-py would repeat for seconds.
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

    Every method raises the `unavailable` error of `open_store` if the server cannot be reached, and
    ConfigurationRefused if the server refuses the command. Both say in one line what to do.
    """

    def __init__(self, client: redis.Redis, address: RedisAddress, unavailable: type[Unavailable]) -> None:
        self._client = client
        self._address = address
        self._unavailable = unavailable
        self._execute: Callable[..., Any] = client.execute_command
        self._reached = False

    def warnings(self) -> list[str]:
        """Return the warnings about an unsafe address, to be logged at every start."""
        address = self._address
        return warnings_of(address.shown, address.hosts, address.tls, address.secret)

    def run(self, *command: Any) -> Any:
        """Return the answer to one command."""
        return self._answered(lambda: self._execute(*command))

    def run_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands together and return their answers; a refused command has a ServerError in its place."""
        send = self._alone if len(commands) == 1 else self._pipelined
        answers: list[Any] = self._answered(lambda: send(commands))
        return answers

    def sound(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands together and return their answers; raise the error of the first refused one."""
        answers = self.run_many(commands)
        for answer in answers:
            if isinstance(answer, ServerError):
                raise self.translated(answer) from answer
        return answers

    def identity(self) -> tuple[str, int]:
        """Return the server's run ID and the database number: two addresses may lead to the same store."""
        run_id: str = self.run("INFO", "server")["run_id"]
        return run_id, int(self._client.connection_pool.connection_kwargs.get("db") or 0)

    def translated(self, error: Exception) -> YadtqError:
        """Return the error of yadtq for an error of redis-py.

        If this address has never answered, another service may be listening there: probe it and name it.
        """
        probe = not self._reached and type(error) in (redis.ConnectionError, redis.TimeoutError)
        return (wrong_service(self._address) if probe else None) or translated(error, self._address, self._unavailable)

    def listen(self, channel: str) -> Listener:
        """Subscribe to a channel on a separate connection."""
        return Listener(self, self._client, channel)

    def close(self) -> None:
        """Close the connections. Never raises."""
        with suppress(Exception):
            self._client.close()
        if self._address.service:
            with suppress(Exception):
                pool: Any = self._client.connection_pool
                pool.sentinel_manager.close()

    def _answered(self, send: Callable[[], Any]) -> Any:
        try:
            answer = self._repeated(send)
        except redis.RedisError as error:
            raise self.translated(error) from error
        self._reached = True
        return answer

    def _alone(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send one command as `_pipelined` does, without the cost of a pipeline."""
        try:
            return [self._execute(*commands[0])]
        except ServerError as error:
            return [error]

    def _pipelined(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipeline:
            put: Callable[..., Any] = pipeline.execute_command
            for command in commands:
                put(*command)
            return list(pipeline.execute(raise_on_error=False))

    def _repeated(self, send: Callable[[], Any]) -> Any:
        """Send, and send again if the connection was lost: a pooled connection may have been closed before.

        If the repeat is refused, the first attempt may have succeeded. Raise the original connection error then, so
        that the outcome is "unknown".
        """
        try:
            return send()
        except redis.ConnectionError as error:
            if type(error) is not redis.ConnectionError:  # a subclass is an answer: loading, no password
                raise
            lost = error
        try:
            answer = send()
        except redis.RedisError as error:
            if is_refusal(error, self._address):
                raise lost from error
            raise
        for one in answer if isinstance(answer, list) else ():
            if isinstance(one, ServerError) and is_refusal(one, self._address):
                raise lost from one
        return answer


class Listener:
    """A subscription to one channel. One thread uses it; another thread may call `close`."""

    def __init__(self, store: Store, client: redis.Redis, channel: str) -> None:
        self.channel = channel
        self._store = store
        self._client = client
        self._closed = threading.Event()
        self._waiting = threading.Lock()
        self._heard = 0.0
        self._pinged: float | None = None
        self._subscribed: Any = self._subscribe()

    def wait(self, timeout: float) -> list[bytes] | None:
        """Return the messages pushed since the last call, waiting at most `timeout` seconds for the first.

        None: the connection was lost and reopened, so pushes may have been missed. Empty: no push came, or the
        listener is closed. Raises the errors of the store if it cannot reconnect within the timeout.
        """
        deadline = time.monotonic() + timeout
        try:
            with self._waiting:
                if self._subscribed is None:
                    return self._reconnected(deadline)
                try:
                    return self._received(deadline)
                except (redis.RedisError, OSError):
                    return self._reconnected(deadline)
        finally:
            if self._closed.is_set():
                self._disconnect()

    def close(self) -> None:
        """Close the connection, and make a running `wait` return. Never raises."""
        if self._closed.is_set():
            return
        self._closed.set()
        with suppress(Exception):  # `wait` wakes up within WAKE_SECONDS even without this message
            self._client.publish(self.channel, "")
        # While another thread reads from the connection, that thread must close it: see `wait`.
        if self._waiting.acquire(blocking=False):
            self._waiting.release()
            self._disconnect()

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
        self._heard, self._pinged = time.monotonic(), None
        return subscribed

    def _received(self, deadline: float) -> list[bytes] | None:
        pushed: list[bytes] = []
        while not self._closed.is_set():
            left = 0.0 if pushed else max(0.0, min(deadline - time.monotonic(), WAKE_SECONDS))
            message = self._subscribed.get_message(timeout=left)
            if message is None:
                if not pushed:
                    self._test_silence()
                if pushed or time.monotonic() >= deadline:
                    return pushed
                continue
            self._heard, self._pinged = time.monotonic(), None
            if message["type"] == "subscribe":
                return None  # redis-py has reconnected
            if message["type"] == "message" and message["data"]:
                pushed.append(message["data"])
        return pushed

    def _test_silence(self) -> None:
        """Send PING after PING_SECONDS of silence; raise TimeoutError if it has had no answer for SOCKET_TIMEOUT."""
        now = time.monotonic()
        if self._pinged is None:
            if now - self._heard > PING_SECONDS:
                self._pinged = now
                self._subscribed.ping()
        elif now - self._pinged > SOCKET_TIMEOUT:
            raise redis.TimeoutError("no answer to PING")

    def _reconnected(self, deadline: float) -> list[bytes] | None:
        self._disconnect()
        while not self._closed.is_set():
            try:
                self._subscribed = self._subscribe()
                return None
            except YadtqError:
                if time.monotonic() >= deadline:
                    raise
            self._closed.wait(min(RECONNECT_SECONDS, max(0.0, deadline - time.monotonic())))
        return []

    def _disconnect(self) -> None:
        subscribed, self._subscribed = self._subscribed, None
        if subscribed is not None:
            with suppress(Exception):
                subscribed.close()

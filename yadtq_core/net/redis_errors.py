"""Redis's errors and their meaning: each becomes an error of yadtq that says what to do."""

from __future__ import annotations

from collections.abc import Sequence

import redis
from redis.sentinel import MasterNotFoundError

from yadtq_core.errors import ConfigurationRefused, Unavailable, YadtqError
from yadtq_core.net.probe import answers_like, tls_trouble
from yadtq_core.net.redis_url import RedisAddress
from yadtq_core.net.tls import certificate_trouble, context_of

ServerError = redis.ResponseError
"""The server's refusal of one command, as `Store.run_many` returns it in the place of the answer."""

_NO_LOGIN = "a password is required: redis://USER:PASSWORD@HOST, YADTQ_BACKEND_PASSWORD or ?password_file=FILE"
_FULL = "the result store is full (maxmemory is reached): give Redis more memory, or shorten result_ttl"
_REFUSED = (
    # (text in the server's answer, meaning and what to do)
    ("OOM ", _FULL),
    ("READONLY", "this is a read-only replica: use the address of its primary"),
    ("read only replica", "this is a read-only replica: use the address of its primary"),
    ("MISCONF", "Redis cannot save to its disk and refuses writes: free space there, and read its log"),
    ("NOAUTH", _NO_LOGIN),
    ("Authentication required", _NO_LOGIN),
    ("without any password configured", "the address has a password, but none is set on the server: leave it out"),
    ("WRONGPASS", "user or password is wrong"),
    ("username-password pair", "user or password is wrong"),
    ("DB index is out of range", "the server has no database with this number"),
    ("CROSSSLOT", "this is a node of a Redis Cluster, which takes keys of one slot per command"),
    ("unknown command 'SENTINEL'", "this is not a Sentinel: use redis://, or the port of the Sentinels"),
    ("unknown command", "Redis is too old: yadtq needs Redis 7.0 or Valkey 7.2"),
    ("Unknown Redis command", "Redis is too old: yadtq needs Redis 7.0 or Valkey 7.2"),
)
_NOTHING_THERE = "nothing listens there: start Redis (`yadtq dev` brings one), or correct the address"
_UNAVAILABLE = (
    ("LOADING", "Redis is still loading its data: wait"),
    ("loading the dataset", "Redis is still loading its data: wait"),
    ("max number of clients", "Redis accepts no more clients: raise its maxclients"),
    ("BUSY ", "Redis is busy with a script of another client: wait"),
    ("CLUSTERDOWN", "its cluster is down"),
    ("MASTERDOWN", "its primary is down"),
    ("Error 111 ", _NOTHING_THERE),
    ("Error 61 ", _NOTHING_THERE),
    ("Error 2 ", "the socket does not exist: start Redis (`yadtq dev` brings one), or correct the address"),
    ("Protocol Error", "it does not answer like Redis: does another program use this port?"),
    ("Connection closed by server", "it closed the connection: is it a Redis, and is it up?"),
)


def server_text(error: Exception) -> str:
    """Return the server's message in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


def is_refusal(error: Exception, address: RedisAddress) -> bool:
    """True when the server answered and refused: the command was not carried out."""
    return _refused(error, server_text(error), address) is not None


def translated(error: Exception, address: RedisAddress, unavailable: type[Unavailable]) -> YadtqError:
    """Return the error of yadtq for an error of redis-py, by class and text: many are plain ResponseErrors."""
    text, shown = server_text(error), address.shown
    if isinstance(error, MasterNotFoundError):
        return _no_primary(str(error), address, unavailable)
    if isinstance(error, redis.TimeoutError):
        return unavailable(f"{shown} does not answer in time: is it overloaded, paused or behind a firewall?")
    if refused := _refused(error, text, address):
        return ConfigurationRefused(f"{shown}: {refused}")
    if meaning := _meaning(text, _UNAVAILABLE):
        return unavailable(f"{shown}: {meaning}")
    if isinstance(error, ServerError | redis.AuthenticationError):
        return ConfigurationRefused(f"{shown} refuses: {text}")
    return unavailable(f"{shown} cannot be reached: {text}")


def wrong_service(address: RedisAddress) -> YadtqError | None:
    """Return the error for a port where another service or protocol answers; None if it is Redis or nothing answers."""
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


def _refused(error: Exception, text: str, address: RedisAddress) -> str | None:
    """Return the reason of a refusal and what to do; None if the error is not a refusal."""
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return _FULL
    if isinstance(error, redis.exceptions.NoPermissionError) or "ACL failure in script" in text:
        return f"its user lacks a permission, grant it with ACL SETUSER: {text[:200]}"
    if address.tls is not None and (trouble := certificate_trouble(text)):
        return trouble
    return None if _meaning(text, _UNAVAILABLE) else _meaning(text, _REFUSED)


def _meaning(text: str, signs: Sequence[tuple[str, str]]) -> str | None:
    return next((meaning for sign, meaning in signs if sign in text), None)


def _no_primary(text: str, address: RedisAddress, unavailable: type[Unavailable]) -> YadtqError:
    """Return the error for Sentinels that name no primary. Of a Sentinel's failure, redis-py gives only the class."""
    if " : " not in text:
        return unavailable(
            f"{address.shown}: the Sentinels know no live primary {address.service!r}: wait, or correct the name"
        )
    if "AuthenticationError" in text:
        what = "its password is wrong" if address.sentinel_secret else "a password is required"
        return ConfigurationRefused(f"{address.shown}: a Sentinel: {what}: sentinel_password_file=FILE")
    if trouble := _tls_trouble(address):
        return ConfigurationRefused(f"{address.shown}: a Sentinel: {trouble}")
    return unavailable(f"{address.shown}: no Sentinel answers: are they up, and do they speak TLS as the address says?")


def _tls_trouble(address: RedisAddress) -> str | None:
    """Return the fault of the first server's certificate or of the client's, None if there is none."""
    if address.tls is None:
        return None
    host, port = address.servers[0]
    said = tls_trouble(host, port, context_of(address.tls))
    return certificate_trouble(said) if said else None

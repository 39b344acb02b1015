"""Versions of the wire format: older messages are read, newer ones are left to workers that know them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest

from verification import wire_version2
from yadtq_core import task
from yadtq_core.errors import EnvelopeError
from yadtq_core.model import new_id
from yadtq_core.testing import Engine
from yadtq_core.wire import decode, envelope
from yadtq_core.wire.json_format import JsonSerializer
from yadtq_core.wire.payloads import Payloads

FORMATS = Path(__file__).parents[2] / "formats"
SIGNATURE = "(path: str, width: int, *, height: int | None = None)"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

STORED: dict[str, tuple[list[Any], dict[str, Any], dict[str, Any]]] = {
    "v1-plain": (
        [1, 2, 3],
        {},
        {"id": "1ac937b4-e1b4-41f4-90e2-faef01a6298b", "task": "add", "signature": "(*numbers: int | float)"},
    ),
    "v1-kept": (
        [1, 2, 3],
        {},
        {"id": "1ac937b4-e1b4-41f4-90e2-faef01a6298b", "submitted_at_ms": 0, "digest": "kDaG56dy_xQIMleaPp7FrA"},
    ),
    "v1-every-field": (
        ["a.png", 640],
        {"height": 480},
        {
            "v": 1,
            "submitted_at_ms": 1_700_000_000_000,
            "id": "acd750d6-088a-4b81-b006-f721db127a09",
            "task": "shop.resize",
            "digest": "InZ3HKT4eUUbwbZGMKGqDw",
            "queue": "slow",
            "headers": {"tenant": "acme", "note": "a=b", "traceparent": TRACE},
            "retries": 5,
            "codecs": "",
            "signature": SIGNATURE,
            "version": "2",
        },
    ),
    "v1-not-ascii": (
        ['Grüße, 日本 🎈 \u2028 \x00 "\\ é'],
        {"naïve": "ё"},
        {"headers": {"имя": "значение"}, "signature": "(name, **more)", "retries": None},
    ),
    "v1-numbers": ([2**63, -(2**80), 10**40, 1e308, -0.0, 0.1], {}, {"retries": 0, "queue": "default"}),
    "v1-codec": (["ü" * 200, 1], {}, {"codecs": "zlib", "retries": 1000, "version": "2"}),
}
"""Of each file: positional arguments, keyword arguments, and fields of the message."""


class Zlib:
    name = "zlib"

    def encode(self, data: bytes, task_id: str) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes, task_id: str) -> bytes:
        return zlib.decompress(data)


PAYLOADS = Payloads({"json": JsonSerializer()}, {"zlib": Zlib()}, ())


def stored(name: str) -> bytes:
    return (FORMATS / f"message-{name}.json").read_bytes()


def check(name: str) -> None:
    args, kwargs, fields = STORED[name]
    message = decode(stored(name))
    assert {field: getattr(message, field) for field in fields} == fields
    assert PAYLOADS.arguments(bytes(message.arguments), message.codecs, message.id) == [args, kwargs]


def version2() -> bytes:
    with wire_version2.installed():
        return envelope.encode(envelope.build("add", b"[[1],{}]", id=new_id(), retries=3))


def refusal(body: bytes) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        decode(body)
    return caught.value


def test_every_stored_message_has_its_expectation() -> None:
    assert {file.name for file in FORMATS.glob("message-*")} == {f"message-{name}.json" for name in STORED}
    assert {int(name[1]) for name in STORED} == set(envelope.READERS), "a version has no stored message"


@pytest.mark.parametrize("name", STORED)
def test_a_stored_message_is_read(name: str) -> None:
    check(name)


@pytest.mark.parametrize("name", STORED)
def test_a_stored_message_is_read_after_the_next_version_was_added(name: str) -> None:
    with wire_version2.installed():
        check(name)


def test_the_next_version_is_read_by_its_own_reader() -> None:
    body = version2()
    assert b'"name":"add"' in body
    with wire_version2.installed():
        message = decode(body)
        assert (message.v, message.task, message.retries, bytes(message.arguments)) == (2, "add", 3, b"[[1],{}]")
        assert decode(envelope.stamp(body, 17)).submitted_at_ms == 17


def test_a_newer_message_is_left_to_workers_that_know_its_version() -> None:
    body = version2()
    error = refusal(body)
    assert (error.version, str(error)) == (2, "format version 2, this yadtq reads 1")
    with wire_version2.installed():
        assert error.task_id == decode(body).id
        assert str(refusal(body.replace(b'"v":2', b'"v":3'))) == "format version 3, this yadtq reads 1, 2"


def test_an_older_message_that_is_malformed_becomes_a_dead_letter() -> None:
    with wire_version2.installed():
        error = refusal(stored("v1-plain").replace(b'"task":"add"', b'"task":5'))
    assert (error.task_id, error.version) == (None, 1)


def test_a_task_that_was_submitted_before_the_upgrade_runs_after_it() -> None:
    @task
    def double(number: int) -> int:
        return 2 * number

    with Engine() as engine:
        handle = engine.client.submit(double, 21)
        with wire_version2.installed():
            engine.run_until_idle()
            later = engine.client.submit(double, 4)
            engine.run_until_idle()
        assert (handle.result(timeout=0), later.result(timeout=0)) == (42, 8)

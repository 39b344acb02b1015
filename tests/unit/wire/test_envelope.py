"""The wire format: a message survives the trip, and bytes from outside are read or refused, nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq_core.errors import EnvelopeError
from yadtq_core.model import Message, new_id
from yadtq_core.wire import envelope

ID = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def body(**fields: Any) -> bytes:
    """A message as other software would write it."""
    return json.dumps({"v": 1, "id": ID, "task": "add", "args": [[1], {}], "hash": "h"} | fields).encode()


def refusal(data: bytes) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        envelope.decode(data)
    return caught.value


def same(one: Message, other: Message) -> bool:
    """Compare two messages; `Raw` compares by identity."""
    return bytes(one.arguments) == bytes(other.arguments) and envelope.encode(one) == envelope.encode(other)


@given(
    arguments=plain,
    headers=st.dictionaries(st.text(), st.text()),
    retries=st.none() | st.integers(0, 1000),
    queue=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True),
    task=st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}", fullmatch=True),
    stamped=st.integers(0, 2**53),
)
def test_a_message_survives_the_trip(
    *, arguments: Any, headers: dict[str, str], retries: int | None, queue: str, task: str, stamped: int
) -> None:
    encoded_arguments = json.dumps([[arguments], {}]).encode()
    made = envelope.build(task, encoded_arguments, id=new_id(), queue=queue, headers=headers, retries=retries)
    read = envelope.decode(envelope.encode(made))
    assert same(read, made)
    assert bytes(read.arguments) == encoded_arguments
    assert (read.queue, read.headers, read.retries, read.submitted_at_ms) == (queue, headers, retries, 0)
    late = envelope.decode(envelope.stamp(envelope.encode(made), stamped))
    assert late.submitted_at_ms == stamped
    assert bytes(late.arguments) == encoded_arguments


def test_the_format_is_the_one_that_is_documented() -> None:
    made = envelope.build("add", b"[[1,2,3],{}]", id=ID, headers={"a": "b"}, retries=2, signature="(a)", version="2")
    assert json.loads(envelope.stamp(envelope.encode(made), 17)) == {
        "submitted_at": 17,
        "v": 1,
        "id": ID,
        "task": "add",
        "args": [[1, 2, 3], {}],
        "hash": envelope.digest_of("add", b"[[1,2,3],{}]"),
        "headers": {"a": "b"},
        "retries": 2,
        "sig": "(a)",
        "ver": "2",
    }


def test_a_stamp_is_put_on_once() -> None:
    once = envelope.stamp(envelope.encode(envelope.build("add", b"[[],{}]", id=ID)), 17)
    assert envelope.stamp(once, 99) == once
    assert envelope.decode(once).submitted_at_ms == 17


def test_different_calls_have_different_digests() -> None:
    same_call = envelope.digest_of("add", b"[[1],{}]")
    assert same_call == envelope.digest_of("add", b"[[1],{}]")
    assert len(same_call) == 22
    assert same_call != envelope.digest_of("add", b"[[2],{}]")
    assert envelope.digest_of("a", b"b[[1],{}]") != envelope.digest_of("ab", b"[[1],{}]")


def test_fields_of_later_versions_are_passed_over() -> None:
    assert envelope.decode(body(priority=9, trace={"a": [1]})).task == "add"


def test_a_newer_message_keeps_its_id() -> None:
    for data in (body(v=2), body(v=2, task=None), body(v=2, headers=[1]), body(v=7, args={"new": 1})):
        error = refusal(data)
        assert error.task_id == ID
        assert error.version in (2, 7)
    assert str(refusal(body(v=2))) == "format version 2, this yadtq reads 1"


@pytest.mark.parametrize("data", [b"{}", b'{"task":"add"}'])
def test_an_object_without_id_and_version_names_the_versions_that_are_read(data: bytes) -> None:
    assert str(refusal(data)) == "format version 0, this yadtq reads 1"


@pytest.mark.parametrize(
    "fields",
    [
        {"task": ""},
        {"task": None},
        {"task": "a b"},
        {"task": "a\nb"},
        {"task": "__import__('os')"},
        {"task": "x" * 129},
        {"queue": "A"},
        {"queue": "../x"},
        {"queue": "a\n"},
        {"headers": {"a": 1}},
        {"headers": [1]},
        {"retries": -1},
        {"retries": 1001},
        {"retries": 10**30},
        {"retries": 1.5},
        {"retries": True},
        {"submitted_at": -1},
        {"submitted_at": 10**400},
        {"submitted_at": "now"},
        {"v": 0},
        {"v": -1},
        {"v": "1"},
        {"hash": 5},
    ],
)
def test_a_malformed_message_of_this_version_has_no_id(fields: dict[str, Any]) -> None:
    """No other worker could read it either: an ID would leave it to them for ever."""
    assert refusal(body(**fields)).task_id is None


@pytest.mark.parametrize("id", ["", "x", ID.upper(), ID[:-1], ID + "\n", "{" + ID + "}", "urn:uuid:" + ID, 5, None])
@pytest.mark.parametrize("v", [1, 2])
def test_a_newer_message_with_an_invalid_id_has_none(id: Any, v: int) -> None:
    assert refusal(body(id=id, v=v)).task_id is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b"{}",
        b"{",
        b"not json",
        b"\x00\x01\x02",
        b"\xff\xfe",
        b'{"v":1,"id":"\xff"}',
        b'{"v":1,"id":"\\ud800"}',
        b"[" * 900_000,
        b'{"v":1,"args":' + b"[" * 900_000 + b"]" * 900_000 + b"}",
        b'{"v":1,"args":' + b'{"a":' * 200_000,
        body()[:-1],
        body() + b"{}",
        body() + b"\x00",
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    assert refusal(data).task_id is None


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_read_or_be_refused(data: bytes) -> None:
    try:
        envelope.decode(data)
    except EnvelopeError:
        pass


@given(cut=st.integers(0, 300), byte=st.integers(0, 255))
def test_a_damaged_message_is_read_or_refused(cut: int, byte: int) -> None:
    data = bytearray(envelope.stamp(envelope.encode(envelope.build("add", b'[["x"],{}]', id=ID)), 1))
    data[cut % len(data)] = byte
    try:
        envelope.encode(envelope.decode(bytes(data)))
    except EnvelopeError:
        pass

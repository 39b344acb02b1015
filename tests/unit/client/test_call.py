"""Calls and their options, and how they become messages."""

from __future__ import annotations

import datetime
import re
import uuid
from typing import Any

import msgspec
import pytest

from tests.unit.client.memory import Installation
from tests.unit.client.tasks import Order, fetch, positive, resize, ship
from yadtq_core import Client, InvalidArguments, InvalidId, InvalidInput, InvalidTask, call, task
from yadtq_core.client.builder import nesting
from yadtq_core.client.call import options
from yadtq_core.model import MAX_ARGUMENT_BYTES, MAX_NESTING, new_id


def sent(place: Installation) -> dict[str, Any]:
    """The last message as it travels."""
    message: dict[str, Any] = msgspec.json.decode(place.broker.messages[-1].body)
    return message


def test_a_call_by_name_travels_as_it_was_given(place: Installation, client: Client) -> None:
    handle = client.submit("anything", 1, "zwei", x=[None])
    assert sent(place)["id"] == handle.id
    assert sent(place)["task"] == "anything"
    assert sent(place)["args"] == [[1, "zwei"], {"x": [None]}]
    assert place.broker.messages[-1].queue == "default"
    assert "retries" not in sent(place)


def test_a_task_itself_travels_under_its_name(place: Installation, client: Client) -> None:
    client.submit(resize, "a.png", width=640)
    assert (sent(place)["task"], sent(place)["args"]) == ("tests.resize", [["a.png"], {"width": 640}])
    client.submit(fetch, "x")
    assert sent(place)["task"] == "tests.fetch"


def test_options_travel_beside_the_arguments(place: Installation, client: Client) -> None:
    given = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
    view = client.using(queue="slow", headers={"trace": "1"}).using(retries=3, headers={"user": "u"}, id=given)
    assert view.submit(resize, "a.png").id == given
    assert sent(place)["queue"] == "slow"
    assert sent(place)["retries"] == 3
    assert sent(place)["headers"] == {"trace": "1", "user": "u"}
    client.submit(resize, "a.png")
    assert place.broker.messages[-1].queue == "default", "a view leaves its client as it was"


def test_the_options_of_a_call_go_over_those_of_the_client(place: Installation, client: Client) -> None:
    calls = [call(resize, "a.png").using(queue="fast"), call(resize, "b.png")]
    client.using(queue="slow", retries=1).submit_many(calls)
    assert [message.queue for message in place.broker.messages] == ["fast", "slow"]


def test_equal_idempotency_keys_of_one_task_are_one_task(place: Installation, client: Client) -> None:
    once = client.using(idempotency_key="order 7")
    assert once.submit(resize, "a.png") == once.submit(resize, "a.png")
    assert len(place.backend.records) == 1
    assert once.submit(fetch, "a.png") != once.submit(resize, "a.png")


def test_an_id_and_a_key_exclude_each_other(client: Client) -> None:
    given = str(uuid.uuid4())
    with pytest.raises(InvalidInput, match="exclude each other"):
        client.using(id=given, idempotency_key="x")
    assert client.using(idempotency_key="x").using(id=given).submit("t").id == given


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"delay": -1}, "delay takes seconds from 0 to 31536000, got -1"),
        ({"delay": float("nan")}, "delay takes seconds"),
        ({"delay": float("inf")}, "delay takes seconds"),
        ({"delay": True}, "delay takes seconds"),
        ({"delay": "5"}, "delay takes seconds from 0 to 31536000, got '5'"),
        ({"retries": -1}, "retries takes a whole number from 0 to 1000, got -1"),
        ({"retries": 1e9}, "retries takes a whole number"),
        ({"retries": True}, "retries takes a whole number"),
        ({"queue": "Loud!"}, "not a queue name: 'Loud!'"),
        ({"queue": ""}, "not a queue name"),
        ({"headers": {"a": 1}}, "headers are text, got 'a': 1"),
        ({"headers": ["a"]}, "headers takes a mapping"),
        ({"headers": {"a": "\ud800"}}, "lone surrogate"),
        ({"headers": {"a": "x" * 8192}}, "headers of 8193 bytes; 8192 at most"),
        ({"idempotency_key": ""}, "idempotency_key takes 1 to 512 characters"),
        ({"idempotency_key": "x" * 513}, "idempotency_key takes 1 to 512 characters"),
        ({"idempotency_key": "\ud800"}, "idempotency_key takes 1 to 512 characters"),
    ],
)
def test_options_that_cannot_be(keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(text)):
        options(**keywords)


@pytest.mark.parametrize(
    "given", ["", "x" * 300, "a b", "../x", "{x}", "*", "a\n", "{0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11}"]
)
def test_ids_are_uuids_in_canonical_form(client: Client, given: str) -> None:
    with pytest.raises(InvalidId):
        client.using(id=given)
    with pytest.raises(InvalidId):
        client.handle(given)
    with pytest.raises(InvalidId):
        client.query([given])


def test_an_option_that_does_not_exist_is_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="dely"):
        client.using(dely=3)  # type: ignore[call-arg]


def test_one_text_is_no_list_of_ids(client: Client) -> None:
    with pytest.raises(InvalidInput, match="takes several IDs"):
        client.query("0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11")


@task
def unnamed() -> None: ...


def plain() -> None: ...


def nested_task() -> Any:
    @task
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (plain, "is no task: decorate the function with @task"),
        (None, "is no task"),
        (["total"], "is no task"),
        ("../../x", "not a task name"),
        ("", "not a task name"),
        ("ＡＤＤ", "not a task name"),  # noqa: RUF001
        ("a" * 10_000, "not a task name"),
        ("a\x00", "not a task name"),
        (nested_task(), "is defined inside a function"),
    ],
)
def test_an_object_that_is_no_task_is_refused(place: Installation, client: Client, given: Any, text: str) -> None:
    with pytest.raises(InvalidTask, match=text):
        client.submit(given)
    assert place.backend.calls == []


def test_a_task_without_a_name_is_known_by_its_place(place: Installation, client: Client) -> None:
    client.submit(unnamed)
    assert sent(place)["task"] == "tests.unit.client.test_call.unnamed"


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, r"resize\(path: .*\): path: missing"),
        (("a", 1, 2), {}, "too many positional arguments"),
        (("a",), {"heigth": 1}, "unexpected keyword argument 'heigth'"),
    ],
)
def test_arguments_that_the_task_would_not_take(
    place: Installation, client: Client, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidArguments, match=text):
        client.submit(resize, *args, **kwargs)
    assert place.backend.calls == []


def test_arguments_are_checked_by_annotations_and_travel_as_given(place: Installation, client: Client) -> None:
    with pytest.raises(InvalidArguments, match="width: expected int, got str"):
        client.submit(resize, "a", width="wide")  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match=r"order: object missing required field id$"):
        client.submit(ship, {})  # type: ignore[call-overload]
    assert place.backend.calls == []
    client.submit(ship, Order(uuid.UUID(int=1), datetime.date(2026, 1, 2)))
    given = {"id": str(uuid.UUID(int=1)), "day": "2026-01-02"}
    assert sent(place)["args"] == [[given], {}]
    client.submit(ship, given)  # type: ignore[call-overload]
    assert sent(place)["args"] == [[given], {}]


def test_signature_and_version_travel_where_the_task_is_known(place: Installation, client: Client) -> None:
    client.submit(resize, "a.png")
    assert sent(place)["sig"] == "(path: str, width: int = 800)"
    assert "ver" not in sent(place)
    client.submit(ship, Order(uuid.UUID(int=1)))
    assert (sent(place)["sig"], sent(place)["ver"]) == ("(order: Order)", "2")
    client.submit("anything", 1)
    assert not {"sig", "ver"} & sent(place).keys()


def test_a_task_checks_its_arguments_itself(client: Client) -> None:
    with pytest.raises(InvalidArguments, match="positive takes a number from 0, got -1"):
        client.submit(positive, -1)


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((1, {"x": object()}), {}, "t: argument 1['x'] is of type object, which JSON cannot represent"),
        ((), {"width": float("nan")}, "t: argument 'width' is nan: NaN and Infinity are not JSON"),
        ((float("inf"),), {}, "argument 0 is inf"),
        (("\ud800",), {}, "argument 0 is text with a lone surrogate"),
        ((10**5000,), {}, "argument 0 is an integer of more than 4300 digits"),
    ],
)
def test_arguments_that_json_cannot_carry(
    place: Installation, client: Client, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidArguments, match=re.escape(text)):
        client.submit("t", *args, **kwargs)
    assert place.backend.calls == []


def test_arguments_that_refer_to_themselves(client: Client) -> None:
    circular: list[Any] = []
    circular.append(circular)
    with pytest.raises(InvalidArguments, match="nested too deeply, or refers to itself"):
        client.submit("t", circular)


def test_arguments_are_limited_in_size_and_depth(place: Installation, client: Client) -> None:
    overhead = len(b'[[""],{}]')
    client.submit("t", "x" * (MAX_ARGUMENT_BYTES - overhead))
    with pytest.raises(InvalidArguments, match="arguments of 262145 bytes, 262144 at most"):
        client.submit("t", "x" * (MAX_ARGUMENT_BYTES - overhead + 1))

    def deep(levels: int) -> Any:
        return [] if levels == 1 else [deep(levels - 1)]

    client.submit("t", *deep(MAX_NESTING))
    with pytest.raises(InvalidArguments, match="nest deeper than 32"):
        client.submit("t", *deep(MAX_NESTING + 1))
    client.submit("t", "[" * 500, [[] for _ in range(100)], r"\"[[[" * 20)


@pytest.mark.parametrize(
    ("text", "depth"), [("[]", 1), ('[[],{"a":[1]}]', 3), ('["[[[[",{"[{":"]\\"}["}]', 2), ('["\\\\",["a"]]', 2)]
)
def test_nesting(text: str, depth: int) -> None:
    assert nesting(text.encode()) == depth


def test_random_ids_are_uuids_of_version_4() -> None:
    ids = {new_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant, str(uuid.UUID(one)) == one) for one in ids} == {
        (4, uuid.RFC_4122, True)
    }

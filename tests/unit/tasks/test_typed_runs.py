"""A run with typed arguments: the values that the function gets, and the error for a message of another version."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from yadtq_core import Client, TaskFailed, task
from yadtq_core.testing.engine import Engine


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Order:
    id: uuid.UUID
    lines: list[Line]


seen: list[Any] = []


@task(name="typed.bill", version="2")
def bill(order: Order, *days: datetime.date, **notes: bytes) -> Order:
    seen.append((order, days, notes))
    return order


@task(name="typed.bill", version="1")
def first_bill(sku: str) -> None: ...


@task(name="typed.later", retries=3)
async def later(at: datetime.datetime, check: Any = None) -> str:
    seen.append(at)
    return at.isoformat()


ORDER = Order(uuid.UUID(int=1), [Line("a"), Line("b", 2)])
PLAIN = {"id": str(ORDER.id), "lines": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}]}


@pytest.fixture
def engine() -> Iterator[Engine]:
    seen.clear()
    with Engine() as engine:
        yield engine


def failure(client: Client, task_id: str) -> str:
    with pytest.raises(TaskFailed) as caught:
        client.handle(task_id).result(timeout=5)
    return str(caught.value).partition("failed: ")[2]


def test_a_dataclass_goes_through_json_and_is_one_again(engine: Engine) -> None:
    day = datetime.date(2026, 1, 2)
    one = engine.client.submit(bill, ORDER, day, picture=b"\0\xff")
    other = engine.client.submit("typed.bill", PLAIN, day.isoformat(), picture="AP8=")
    engine.run_until_idle()
    assert seen == [(ORDER, (day,), {"picture": b"\0\xff"})] * 2
    assert one.result(timeout=5) == other.result(timeout=5) == PLAIN


def test_a_coroutine_is_given_typed_arguments_too(engine: Engine) -> None:
    handle = engine.client.submit(later, at=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    engine.run_until_idle()
    assert handle.result(timeout=5) == "2026-01-02T00:00:00+00:00"
    assert seen == [datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)]


def test_an_argument_that_does_not_fit_at_the_run_fails_without_a_retry(engine: Engine) -> None:
    @task(name="typed.later")
    def loose(*anything: Any) -> None: ...

    handle = engine.client.submit(loose, "soon")
    engine.client.submit(later, datetime.datetime(2026, 1, 2))  # from here on the engine has the strict one
    engine.run_until_idle()
    assert failure(engine.client, handle.id).startswith(
        "InvalidArguments: later(at: datetime.datetime, check: Any = None): at: invalid RFC3339 encoded datetime"
    )
    assert handle.record().attempt == 1
    assert len(seen) == 1


def test_an_argument_error_names_the_version_of_the_call(engine: Engine) -> None:
    old = engine.client.submit(first_bill, "a")
    engine.client.submit(bill, ORDER)
    engine.run_until_idle()
    assert failure(engine.client, old.id) == (
        "InvalidArguments: bill(order: Order, *days: datetime.date, **notes: bytes): "
        "order: expected object, got str; it was submitted for version 1 with (sku: str)"
    )
    assert seen == [(ORDER, (), {})]

"""Tasks of the client's unit tests."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass

from yadtq_core import InvalidArguments, task


@task(name="tests.resize")
def resize(path: str, width: int = 800) -> str:
    return f"{path} {width}"


@task(name="tests.fetch")
async def fetch(url: str) -> bytes:
    return url.encode()


def _positive(number: int) -> None:
    if number < 0:
        raise InvalidArguments(f"positive takes a number from 0, got {number}")


@task(name="tests.positive", check=_positive)
def positive(number: int) -> int:
    return number


@dataclass
class Order:
    id: uuid.UUID
    day: datetime.date = datetime.date(2026, 1, 1)


@task(name="tests.ship", version="2")
def ship(order: Order) -> str:
    return str(order.id)

"""Tasks of an application: they need no package, this file is enough.

yadtq worker shop                                              # in this folder
yadtq submit shop.total '[[19.9, 5.0, 5.0], 0.1]' --wait       # in another terminal
yadtq submit shop.label '{"order": "A-17", "copies": 3}' --wait
yadtq submit shop.ship '["A-17"]' --wait
"""

import asyncio
import random
import time

from yadtq_core import Cancelled, InvalidArguments, Retry, current, task


def check_total(prices: list[float], discount: float = 0.0) -> None:
    """Refuse invalid arguments of `total` at submit."""
    if not 0 <= discount < 1:
        raise InvalidArguments(f"total: discount must be 0 to below 1, got {discount!r}")


@task(check=check_total)
def total(prices: list[float], discount: float = 0.0) -> float:
    """Return the price of an order."""
    return round(sum(prices) * (1 - discount), 2)


@task
def label(order: str, copies: int = 1) -> str:
    """Print labels, one per second; report progress, and stop when cancelled."""
    run = current()
    for done in range(copies):
        if run.cancelled():
            raise Cancelled(f"{done} of {copies} were printed")
        time.sleep(1)
        run.progress((done + 1) / copies, f"label {done + 1} of {copies}")
    return f"{copies} x {order}"


@task(name="shop.ship", retries=5)
async def ship(order: str) -> dict[str, str]:
    """Book a parcel with a carrier whose service often fails."""
    await asyncio.sleep(0.1)
    if random.random() < 0.5:
        raise Retry("the carrier did not answer", delay=2)
    return {"order": order, "parcel": f"P{random.randrange(10**6):06}"}

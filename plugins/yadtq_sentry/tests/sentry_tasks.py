"""Tasks that fail, for the worker of the end-to-end test."""

from __future__ import annotations

from yadtq_core import Cancelled, task


@task(name="shop.charge")
def charge(card: str) -> None:
    """Fail with a secret in a local variable."""
    digits = card[::-1]
    raise ConnectionError(f"the bank is away after {len(digits)} digits")


@task(name="shop.acharge")
async def acharge(card: str) -> None:
    """Fail on the event loop."""
    raise ConnectionError("the bank is away for async callers too")


@task(name="shop.fine")
def fine() -> int:
    """Succeed."""
    return 1


@task(name="shop.given_up")
def given_up() -> None:
    """End as a cancelled task."""
    raise Cancelled

"""Waiting for another process or thread, with a timeout and an error that names the missing condition."""

from __future__ import annotations

import time
from collections.abc import Callable

_LOOK_SECONDS = 0.02


def wait_until(condition: Callable[[], object], description: str, timeout: float = 30.0) -> None:
    """Return once `condition` is true; raise `AssertionError` with `description` after `timeout` s."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {description}")
        time.sleep(_LOOK_SECONDS)

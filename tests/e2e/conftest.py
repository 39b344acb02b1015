"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import Site, site

LEASE = 3.0


@pytest.fixture
def here(tmp_path: Path, kafka_url: str, redis_url: str, namespace: str) -> Iterator[Site]:
    """A site with a lease of 3 s."""
    with site(tmp_path, kafka_url, redis_url, namespace, LEASE) as made:
        made.client.provision()
        yield made

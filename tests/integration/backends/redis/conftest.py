"""Backends on a real Redis, with one namespace a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.integration.backends.redis.bed import Bed
from yadtq_local import LocalValkey


@pytest.fixture
def make_bed(redis_url: str, namespace: str) -> Iterator[Callable[..., Bed]]:
    """Lay a bed in the shared Redis; takes `shards`."""
    with ExitStack() as at_end:

        def make(shards: int = 1) -> Bed:
            made = Bed(redis_url, namespace, shards)
            at_end.callback(made.store.close)
            at_end.callback(made.lose_everything)
            return made

        yield make


@pytest.fixture
def bed(make_bed: Callable[..., Bed]) -> Bed:
    """A namespace with one shard."""
    return make_bed()


@pytest.fixture
def own_bed(make_valkey: Callable[..., LocalValkey], namespace: str) -> Iterator[Bed]:
    """A namespace of a separate Redis, which a test may fill, restart or restrict."""
    server = make_valkey(aof=False)
    made = Bed(server.url, namespace)
    yield made
    made.store.close()
